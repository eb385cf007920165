// Files of keys, as `llmc keygen` writes them: a line that says what the file is, and the key's 32 bytes as 64
// hexadecimal digits.
//
//   llmc public key 1                                                      NAME.pub, to give to everybody
//   d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a
//
//   llmc secret key 1                                                      NAME.key, mode 0600, to keep
//   9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60
#pragma once

#include <string>

#include "plan/result.h"
#include "plan/signature.h"

namespace llm {

Result<PublicKey> read_public_key(const std::string& path);
Result<SecretKey> read_secret_key(const std::string& path);

// Writes NAME.key (mode 0600) and NAME.pub. Error: one of them is there already; nothing is ever replaced.
Status write_key_pair(const std::string& name, const SecretKey& key);

}  // namespace llm
