//! The printable alphabet of byte-level tokenizers: one character for each of the 256 bytes.
//!
//! From GPT-2's `encoder.py` (Radford et al. 2019): printable Latin-1 bytes stand for themselves, the other
//! 68 take the characters from U+0100 on, in the order of the bytes.

/// Whether a byte stands for itself.
const fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

const TO_CHAR: [char; 256] = {
    let mut table = ['\0'; 256];
    let mut next = 0x100u32;
    let mut byte = 0;
    while byte < 256 {
        let code = if is_printable(byte as u8) {
            byte as u32
        } else {
            next += 1;
            next - 1
        };
        table[byte] = match char::from_u32(code) {
            Some(c) => c,
            None => '\0',
        };
        byte += 1;
    }
    table
};

/// The character that stands for a byte.
pub(crate) fn to_char(byte: u8) -> char {
    TO_CHAR[usize::from(byte)]
}

/// The byte that a character stands for.
pub(crate) fn from_char(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ 0..=0xFF => is_printable(code as u8).then_some(code as u8),
        // U+0100 to U+0120: bytes 0 to 32; U+0121 to U+0142: 127 to 160; U+0143: 173.
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    #[test]
    fn every_byte_has_its_own_character_and_comes_back() {
        let ours: HashSet<char> = (0..=255).map(to_char).collect();
        let theirs: HashSet<char> = ByteLevel::alphabet().into_iter().collect();
        assert_eq!(ours, theirs);
        for byte in 0..=255 {
            assert_eq!(from_char(to_char(byte)), Some(byte));
        }
        assert_eq!(('\0'..='\u{3000}').filter(|&c| from_char(c).is_some()).count(), 256);
        assert_eq!((to_char(b' '), to_char(b'\n')), ('Ġ', 'Ċ'));
    }
}
