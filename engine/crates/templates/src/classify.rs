//! The kind of one word, from its characters alone.
//!
//! One list of rules for all systems: there are no regular expressions a user would have to write. A word that looks like a value (a number, a
//! hash, an address) is a variable from its first line on; a plain word is constant until the miner has seen enough others in its place; an
//! identifier (`eth0`, `camelCase`, `some-name`) lies between them.

/// What a token is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Punctuation. Lines whose delimiters differ never share a template by position.
    Delimiter,
    /// A value, shown as `<*>`.
    Variable,
    /// A plain word that is common in logs, or has a common ending.
    Word,
    /// A plain word that the lexicon does not hold. Only the slow path tells it from [`Kind::Word`].
    Name,
    /// Anything else that is no value by its looks.
    Identifier,
}

pub(crate) const SPACE: u16 = 1;
pub(crate) const DELIMITER: u16 = 2;
pub(crate) const DIGIT: u16 = 4;
const LOWER: u16 = 8;
const UPPER: u16 = 16;
pub(crate) const HEX: u16 = 32;
/// A byte of a character outside ASCII.
pub(crate) const HIGH: u16 = 64;
const OTHER: u16 = 128;
const AT_SIGN: u16 = 256;
pub(crate) const DOT: u16 = 512;
pub(crate) const SLASH: u16 = 1024;
/// Ends a path: a bracket, a quote, `;` or `|`.
pub(crate) const BEHIND_PATH: u16 = 2048;
pub(crate) const ALPHANUMERIC: u16 = DIGIT | LOWER | UPPER;

/// The class bits of every byte.
pub(crate) static CLASS: [u16; 256] = classes();

const fn classes() -> [u16; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let mut class = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => SPACE,
            b'=' | b':' | b',' | b';' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b'"'
            | b'\'' | b'|' => DELIMITER,
            b'0'..=b'9' => DIGIT,
            b'a'..=b'z' => LOWER,
            b'A'..=b'Z' => UPPER,
            0x80.. => HIGH,
            b'@' => OTHER | AT_SIGN,
            b'.' => OTHER | DOT,
            b'/' => OTHER | SLASH,
            _ => OTHER,
        };
        if byte.is_ascii_hexdigit() {
            class |= HEX;
        }
        if matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'(' | b')' | b'{' | b'}' | b';' | b'|') {
            class |= BEHIND_PATH;
        }
        table[index] = class;
        index += 1;
    }
    table
}

/// The kind of `word`, which is not empty and holds no blank. Never [`Kind::Delimiter`] or [`Kind::Name`].
pub(crate) fn classify(word: &str) -> Kind {
    classify_with(word.as_bytes(), classes_of(word.as_bytes()))
}

pub(crate) fn classes_of(word: &[u8]) -> u16 {
    word.iter().fold(0, |any, &byte| any | CLASS[usize::from(byte)])
}

/// The same, of text as bytes, for who knows the classes of all of them, in one.
#[inline]
pub(crate) fn classify_with(word: &[u8], any: u16) -> Kind {
    if any & !(LOWER | UPPER | HEX) == 0
        && (any & UPPER == 0 || any & LOWER == 0 || !word[1..].iter().any(u8::is_ascii_uppercase))
    {
        // `word`, `Word` or `WORD`.
        let is_value = is_literal(word) || is_long_hex(word);
        return if is_value { Kind::Variable } else { Kind::Word };
    }
    if any & HIGH != 0 {
        return with_characters_outside_ascii(as_text(word), any);
    }
    if any & DIGIT != 0 {
        return if is_numbered_name(word) { Kind::Identifier } else { Kind::Variable };
    }
    if any & (LOWER | UPPER) == 0 {
        return Kind::Word;
    }
    unlike_a_plain_word(word, any)
}

/// Words are cut at the boundaries of characters.
fn as_text(word: &[u8]) -> &str {
    std::str::from_utf8(word).unwrap_or_default()
}

/// Of a word without digits that is not plain, and not without letters.
fn unlike_a_plain_word(word: &[u8], any: u16) -> Kind {
    let is_value = any & OTHER == 0 && is_long_hex(word)
        || any & AT_SIGN != 0 && is_email(as_text(word))
        || any & DOT != 0 && is_host(word);
    if is_value { Kind::Variable } else { Kind::Identifier }
}

#[cold]
fn with_characters_outside_ascii(word: &str, any: u16) -> Kind {
    let mut is_alphanumeric = false;
    let (mut digits, mut digit_at_boundary) = (0, false);
    let mut previous = ' ';
    for character in word.chars() {
        is_alphanumeric |= character.is_alphanumeric();
        if character.is_numeric() {
            digits += 1;
            digit_at_boundary |= !previous.is_ascii_alphanumeric();
        }
        previous = character;
    }
    if digits > 0 {
        let starts_with_letter = word.chars().next().is_some_and(char::is_alphabetic);
        let is_numbered_name = digits == 1 && starts_with_letter && !digit_at_boundary;
        return if is_numbered_name { Kind::Identifier } else { Kind::Variable };
    }
    if is_alphanumeric { unlike_a_plain_word(word.as_bytes(), any) } else { Kind::Word }
}

/// One digit, behind a letter, in a word that starts with a letter and is no hexadecimal number.
fn is_numbered_name(word: &[u8]) -> bool {
    if !word[0].is_ascii_alphabetic() {
        return false;
    }
    let mut digits = word.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit());
    let is_lone_digit = match (digits.next(), digits.next()) {
        (Some((at, _)), None) => word[at - 1].is_ascii_alphanumeric(),
        _ => false,
    };
    is_lone_digit && !(word.len() >= HEX_CHARACTERS_MIN && word.iter().all(u8::is_ascii_hexdigit))
}

/// Fewest hexadecimal digits that are a number whatever they spell.
const HEX_CHARACTERS_MIN: usize = 8;

/// Whether letters are the digits of a hexadecimal number.
fn is_long_hex(letters: &[u8]) -> bool {
    letters.len() >= HEX_CHARACTERS_MIN
        && letters.len().is_multiple_of(2)
        && letters.iter().all(u8::is_ascii_hexdigit)
}

fn is_literal(word: &[u8]) -> bool {
    let is_any = |literals: &[&[u8]]| literals.contains(&word);
    match word.len() {
        4 => is_any(&[b"true", b"null", b"True", b"TRUE", b"NULL", b"None"]),
        5 => is_any(&[b"false", b"False", b"FALSE"]),
        _ => false,
    }
}

fn is_word_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

pub(crate) fn is_email(word: &str) -> bool {
    let Some((local, domain)) = word.split_once('@') else { return false };
    !local.is_empty()
        && local.chars().all(|c| is_word_character(c) || matches!(c, '.' | '+' | '-'))
        && domain.chars().all(|c| is_word_character(c) || matches!(c, '.' | '-'))
        && domain.chars().next_back().is_some_and(is_word_character)
}

/// The longest of [`DOMAINS`].
const DOMAIN_BYTES_MAX: usize = 11;

/// Top-level domains, and what private networks end their names with.
const DOMAINS: [&str; 33] = [
    "com",
    "net",
    "org",
    "edu",
    "gov",
    "mil",
    "io",
    "co",
    "local",
    "localdomain",
    "internal",
    "lan",
    "cn",
    "hk",
    "de",
    "uk",
    "jp",
    "fr",
    "ru",
    "br",
    "in",
    "au",
    "eu",
    "us",
    "ca",
    "nl",
    "it",
    "es",
    "kr",
    "tw",
    "info",
    "biz",
    "dev",
];

fn is_host(word: &[u8]) -> bool {
    let Some(dot) = word.iter().rposition(|&byte| byte == b'.') else { return false };
    let last = &word[dot + 1..];
    let is_domain =
        || DOMAINS.iter().any(|domain| domain.as_bytes() == last) || matches!(last, b"app" | b"cloud");
    last.len() <= DOMAIN_BYTES_MAX && is_domain() && is_dotted_name(word)
}

/// Two or more non-empty parts of ASCII letters, digits, `_` and `-`, with dots between.
pub(crate) fn is_dotted_name(word: &[u8]) -> bool {
    let mut has_dot = false;
    let mut previous = b'.';
    for &byte in word {
        let is_part = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !is_part && (byte != b'.' || previous == b'.') {
            return false;
        }
        has_dot |= byte == b'.';
        previous = byte;
    }
    has_dot && previous != b'.'
}

/// A path without a leading slash: two or more parts, and a dot or a second slash.
pub(crate) fn is_relative_path(word: &str) -> bool {
    let slashes = word.bytes().filter(|&b| b == b'/').count();
    if slashes == 0 || (slashes == 1 && !word.contains('.')) {
        return false;
    }
    let parts = word.strip_suffix('/').unwrap_or(word);
    let is_part = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| is_word_character(c) || matches!(c, '.' | '$' | '@' | '~' | '+' | '-'))
    };
    parts.contains('/') && parts.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, words: &[&str]) {
        for word in words {
            assert_eq!(classify(word), kind, "{word}");
        }
    }

    #[test]
    fn values_are_variables() {
        check(
            Kind::Variable,
            &[
                "7",
                "0x1f",
                "10.1.2.3",
                "ab12",
                "a-1",
                "deadbeef",
                "a1b2c3d4",
                "true",
                "None",
                "joe@lab.example",
                "db.example.org",
                "web.lan",
            ],
        );
    }

    #[test]
    fn plain_words_are_words() {
        check(Kind::Word, &["a", "I", "open", "Open", "OPEN", "--", "*", "facade", "→"]);
    }

    #[test]
    fn the_rest_is_identifiers() {
        check(
            Kind::Identifier,
            &["eth0", "IPv6", "openFile", "open_file", "a.b", "a/b", "naïve", "über-all", "dead-beef"],
        );
    }

    #[test]
    fn digits_outside_ascii_are_digits() {
        check(Kind::Variable, &["٣", "a٣٤"]);
    }

    #[test]
    fn relative_paths_need_a_dot_or_two_slashes() {
        assert!(is_relative_path("src/main.rs") && is_relative_path("a/b/c") && is_relative_path("a/b/"));
        assert!(
            !is_relative_path("read/write")
                && !is_relative_path("a//b.c")
                && !is_relative_path("main.rs")
                && !is_relative_path("/a/b")
        );
    }

    #[test]
    fn dotted_names_have_no_empty_part() {
        assert!(is_dotted_name(b"a.b-c.d_e"));
        assert!(!is_dotted_name(b"a..b") && !is_dotted_name(b"ab") && !is_dotted_name(b".a"));
        assert!(!is_dotted_name(b"a.") && !is_dotted_name(b"") && !is_dotted_name(b"a.b/c"));
        assert!(DOMAINS.iter().all(|domain| domain.len() <= DOMAIN_BYTES_MAX));
    }
}
