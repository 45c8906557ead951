//! A cheap log template: masks what varies. The `templates` crate mines better ones; any text serves as a template.

/// Characters kept of a template.
const LENGTH_MAX: usize = 60;

/// Keeps `logger#line`, drops the text after `:` inside `[..]`, masks words that carry digits, keeps 60 characters.
pub fn template_of(body: &str) -> String {
    let mut template = String::with_capacity(LENGTH_MAX);
    let mut rest = body;
    // The place in the code is as good as a template gets: keep its line number.
    if let Some((head, tail)) = body.split_once(' ')
        && let Some((logger, line)) = head.split_once('#')
        && !logger.is_empty()
        && line.bytes().all(|byte| byte.is_ascii_digit())
    {
        template.push_str(head);
        rest = tail;
        template.push(' ');
    }
    let mut word = String::new();
    let mut dropping = false;
    let mut depth = 0_u32;
    for character in rest.chars() {
        match character {
            '[' => depth += 1,
            ']' => {
                depth = depth.saturating_sub(1);
                dropping = dropping && depth > 0;
            }
            _ => {}
        }
        if dropping {
            continue;
        }
        if character.is_alphanumeric() || matches!(character, '-' | '_') {
            word.push(character);
            continue;
        }
        push_word(&mut template, &mut word);
        template.push(character);
        if character == ':' && depth > 0 {
            dropping = true;
        }
        if template.len() > 4 * LENGTH_MAX {
            break;
        }
    }
    push_word(&mut template, &mut word);
    template.chars().take(LENGTH_MAX).collect()
}

fn push_word(template: &mut String, word: &mut String) {
    let is_uuid = word.len() >= 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_uuid || word.bytes().any(|byte| byte.is_ascii_digit()) {
        template.push('*');
    } else {
        template.push_str(word);
    }
    word.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varying_parts_are_masked() {
        assert_eq!(
            template_of("t.c.Travel2Controller#129 [getTrip][Get trip detail][TripId: Z1234]"),
            "t.c.Travel2Controller#129 [getTrip][Get trip detail][TripId:]"
                .chars()
                .take(60)
                .collect::<String>()
        );
        assert_eq!(template_of("order 4711 of user ab12 failed"), "order * of user * failed");
        assert_eq!(template_of("order 1 of user 7 failed"), template_of("order 2 of user 99 failed"));
        assert_eq!(template_of(""), "");
    }
}
