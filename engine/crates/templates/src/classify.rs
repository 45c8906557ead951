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

pub(crate) const SPACE: u8 = 1;
pub(crate) const DELIMITER: u8 = 2;
pub(crate) const DIGIT: u8 = 4;
const LOWER: u8 = 8;
const UPPER: u8 = 16;
pub(crate) const HEX: u8 = 32;
/// A byte of a character outside ASCII.
pub(crate) const HIGH: u8 = 64;
const OTHER: u8 = 128;
pub(crate) const ALPHANUMERIC: u8 = DIGIT | LOWER | UPPER;

/// The class bits of every byte.
pub(crate) static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
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
            _ => OTHER,
        };
        if byte.is_ascii_hexdigit() {
            class |= HEX;
        }
        table[index] = class;
        index += 1;
    }
    table
}

/// The kind of `word`, which is not empty and holds no blank. Never [`Kind::Delimiter`] or [`Kind::Name`].
pub(crate) fn classify(word: &str) -> Kind {
    let looks = Looks::of(word);
    if looks.digits == 0 && looks.all_hex && looks.characters >= 8 && looks.characters.is_multiple_of(2) {
        return Kind::Variable;
    }
    if looks.digits > 0 {
        let starts_with_letter = word.chars().next().is_some_and(char::is_alphabetic);
        let long_hex = looks.all_hex && looks.characters >= 8;
        let numbered_name = looks.digits == 1 && starts_with_letter && !looks.digit_at_boundary && !long_hex;
        return if numbered_name { Kind::Identifier } else { Kind::Variable };
    }
    if looks.plain {
        return if is_literal(word) { Kind::Variable } else { Kind::Word };
    }
    if is_literal(word) || is_email(word) || is_host(word) {
        return Kind::Variable;
    }
    if looks.alphanumeric { Kind::Identifier } else { Kind::Word }
}

struct Looks {
    characters: usize,
    digits: usize,
    /// A digit that begins the word, or follows something that is neither an ASCII letter nor an ASCII digit.
    digit_at_boundary: bool,
    all_hex: bool,
    alphanumeric: bool,
    /// `word`, `Word` or `WORD`.
    plain: bool,
}

impl Looks {
    fn of(word: &str) -> Looks {
        let bytes = word.as_bytes();
        let mut any = 0;
        let mut all = u8::MAX;
        let mut digits = 0;
        let mut digit_at_boundary = false;
        let mut previous = 0;
        for &byte in bytes {
            let class = CLASS[usize::from(byte)];
            if class & DIGIT != 0 {
                digits += 1;
                digit_at_boundary |= previous & ALPHANUMERIC == 0;
            }
            any |= class;
            all &= class;
            previous = class;
        }
        let mut looks = Looks {
            characters: bytes.len(),
            digits,
            digit_at_boundary,
            all_hex: all & HEX != 0,
            alphanumeric: any & ALPHANUMERIC != 0,
            plain: is_plain(bytes, any),
        };
        if any & HIGH != 0 {
            looks.add_characters_outside_ascii(word);
        }
        looks
    }

    fn add_characters_outside_ascii(&mut self, word: &str) {
        self.characters = word.chars().count();
        let mut previous = ' ';
        for character in word.chars() {
            if !character.is_ascii() {
                self.alphanumeric |= character.is_alphanumeric();
                if character.is_numeric() {
                    self.digits += 1;
                    self.digit_at_boundary |= !previous.is_ascii_alphanumeric();
                }
            }
            previous = character;
        }
    }
}

fn is_plain(bytes: &[u8], any: u8) -> bool {
    if any & !(LOWER | UPPER | HEX) != 0 {
        return false;
    }
    any & UPPER == 0 || any & LOWER == 0 || bytes.iter().skip(1).all(u8::is_ascii_lowercase)
}

fn is_literal(word: &str) -> bool {
    matches!(word, "true" | "false" | "null" | "True" | "False" | "TRUE" | "FALSE" | "NULL" | "None")
}

fn is_word_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn is_email(word: &str) -> bool {
    let Some((local, domain)) = word.split_once('@') else { return false };
    !local.is_empty()
        && local.chars().all(|c| is_word_character(c) || matches!(c, '.' | '+' | '-'))
        && domain.chars().all(|c| is_word_character(c) || matches!(c, '.' | '-'))
        && domain.chars().next_back().is_some_and(is_word_character)
}

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

fn is_host(word: &str) -> bool {
    let Some((_, last)) = word.rsplit_once('.') else { return false };
    is_dotted_name(word) && (DOMAINS.contains(&last) || matches!(last, "app" | "cloud"))
}

/// Two or more non-empty parts of ASCII letters, digits, `_` and `-`, with dots between.
pub(crate) fn is_dotted_name(word: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    word.contains('.') && word.split('.').all(is_part)
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
        assert!(is_dotted_name("a.b-c.d_e"));
        assert!(!is_dotted_name("a..b") && !is_dotted_name("ab") && !is_dotted_name(".a"));
    }
}
