//! Ids in hexadecimal.

/// The bytes of the text, if it is hexadecimal throughout.
pub(crate) fn bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// An id of up to 128 bits; none if it is absent, zero or no id.
pub(crate) fn id(text: &str) -> Option<u128> {
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = if is_hex { u128::from_str_radix(text, 16).ok()? } else { return None };
    (id != 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read() {
        assert_eq!(id("0af7651916cd43dd8448eb211c80319c"), Some(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c));
        assert_eq!((id("b7"), id("00"), id(""), id("+b7"), id("xyz")), (Some(0xb7), None, None, None, None));
        assert_eq!(id("10000000000000000000000000000000f"), None, "more than 128 bits");
        assert_eq!((bytes("0aFf"), bytes("0"), bytes("0g")), (Some(vec![0x0a, 0xff]), None, None));
    }
}
