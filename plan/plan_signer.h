// Signs a plan that is there already. See docs/plan-format.md, "Signature".
#pragma once

#include <string>

#include "plan/result.h"
#include "plan/signature.h"

namespace llm {

// Checks the whole plan, then writes it anew with a signature behind the index, in place of an older one. Atomic. The
// same plan and key give the same bytes.
Status sign_plan(const std::string& path, const SecretKey& key);

}  // namespace llm
