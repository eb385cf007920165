//! The `tokenizers` crate, plus what it does not tell: which tokens are raw bytes, and the bytes of a token.

use std::collections::HashMap;

use tokenizers::{DecoderWrapper, Tokenizer};

use crate::ffi::Outcome;

pub const KIND_UNKNOWN: u32 = 1;
pub const KIND_SPECIAL: u32 = 2;
pub const KIND_BYTE: u32 = 4;

pub struct TextTokenizer {
    inner: Tokenizer,
    vocab_size: u32,
    /// `<0xXX>` tokens are bytes (SentencePiece style).
    has_byte_fallback: bool,
    /// Set when the vocabulary spells bytes as printable characters (GPT-2 style).
    byte_of_char: Option<HashMap<char, u8>>,
}

impl TextTokenizer {
    pub fn from_json(json: &str) -> Outcome<Self> {
        let mut inner: Tokenizer = json.parse().map_err(|e| format!("tokenizer.json: {e}"))?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| format!("tokenizer.json: {e}"))?;
        let vocab_size = inner.get_vocab(true).values().max().map_or(0, |id| id + 1);
        let has_byte_fallback = inner
            .get_decoder()
            .is_some_and(|decoder| any_decoder(decoder, &|d| matches!(d, DecoderWrapper::ByteFallback(_))));
        let is_byte_level = inner
            .get_decoder()
            .is_some_and(|decoder| any_decoder(decoder, &|d| matches!(d, DecoderWrapper::ByteLevel(_))));
        let byte_of_char = is_byte_level.then(byte_level_alphabet);
        Ok(TextTokenizer { inner, vocab_size, has_byte_fallback, byte_of_char })
    }

    pub fn encode(&self, text: &str, add_special: bool) -> Outcome<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, add_special).map_err(|e| format!("encode: {e}"))?;
        Ok(encoding.get_ids().to_vec())
    }

    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Outcome<String> {
        self.inner.decode(ids, skip_special).map_err(|e| format!("decode: {e}"))
    }

    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    pub fn token_to_id(&self, token: &str) -> Outcome<u32> {
        self.inner.token_to_id(token).ok_or_else(|| format!("token \"{token}\" is not in the vocabulary"))
    }

    pub fn id_to_token(&self, id: u32) -> Outcome<String> {
        self.inner
            .id_to_token(id)
            .ok_or_else(|| format!("token id {id} is not in the vocabulary of {} ids", self.vocab_size))
    }

    pub fn token_bytes(&self, id: u32) -> Outcome<Vec<u8>> {
        let token = self.id_to_token(id)?;
        if self.is_added(id) {
            return Ok(token.into_bytes());
        }
        if let Some(byte_of_char) = &self.byte_of_char {
            let bytes: Option<Vec<u8>> = token.chars().map(|c| byte_of_char.get(&c).copied()).collect();
            return Ok(bytes.unwrap_or_else(|| token.into_bytes()));
        }
        if self.has_byte_fallback {
            if let Some(byte) = fallback_byte(&token) {
                return Ok(vec![byte]);
            }
        }
        // SentencePiece spells a space as U+2581.
        Ok(token.replace('\u{2581}', " ").into_bytes())
    }

    pub fn token_kind(&self, id: u32) -> u32 {
        let Some(token) = self.inner.id_to_token(id) else {
            return KIND_UNKNOWN;
        };
        let mut kind = 0;
        if self.inner.get_added_vocabulary().is_special_token(&token) {
            kind |= KIND_SPECIAL;
        }
        if self.has_byte_fallback && fallback_byte(&token).is_some() {
            kind |= KIND_BYTE;
        }
        kind
    }

    fn is_added(&self, id: u32) -> bool {
        self.inner.get_added_vocabulary().get_added_tokens_decoder().contains_key(&id)
    }
}

fn any_decoder(decoder: &DecoderWrapper, wanted: &dyn Fn(&DecoderWrapper) -> bool) -> bool {
    match decoder {
        DecoderWrapper::Sequence(sequence) => sequence.get_decoders().iter().any(|d| any_decoder(d, wanted)),
        other => wanted(other),
    }
}

/// The byte that a token of the form `<0xXX>` stands for.
fn fallback_byte(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

/// Inverse of the byte alphabet of GPT-2 (`bytes_to_unicode` in its encoder.py): printable Latin-1 bytes stand for
/// themselves, all others take the characters from U+0100 on, in order.
fn byte_level_alphabet() -> HashMap<char, u8> {
    let mut next_stand_in = 0x100u32;
    (0..=255u8)
        .map(|byte| {
            let is_printable = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
            let code = if is_printable { u32::from(byte) } else { next_stand_in };
            next_stand_in += u32::from(!is_printable);
            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), byte)
        })
        .collect()
}
