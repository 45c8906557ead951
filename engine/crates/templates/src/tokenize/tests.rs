use super::*;

/// Tokens with `|` between and `<*>` for variables.
fn check(line: &str, expected: &str) {
    let mut tokens = Vec::new();
    assert!(tokenize(line, 256, &mut tokens));
    let shown: Vec<&str> = tokens
        .iter()
        .map(|token| if token.kind == Kind::Variable { "<*>" } else { token.text(line) })
        .collect();
    assert_eq!(shown.join("|"), expected, "{line}");
}

#[test]
fn delimiters_are_tokens_and_blanks_are_not() {
    check("open(door)  a=b", "open|(|door|)|a|=|b");
    check("ns::Type failed.", "ns::Type|failed|.");
    check("why?!", "why|?!");
}

#[test]
fn values_with_delimiters_are_taken_whole() {
    check("read /var/lib/x.db.", "read|<*>|.");
    check("get https://a.example/x?y=1 now", "get|<*>|now");
    check("open C:\\data\\x and \\\\host\\share", "open|<*>|and|<*>");
    check("from 00:1b:44:11:3a:b7 on fe80::1:2", "from|<*>|on|<*>");
    check("at 12:30:01.5 and 7:05", "at|<*>|and|<*>");
    check("at 12:30:01.5x, 12:30:01.5", "at|<*>|,|<*>");
    check("got Point{x: 1, {y}} here", "got|<*>|here");
    check("port 80,81,82 up", "port|<*>|up");
    check("took 5 MB.", "took|<*>|.");
    check("took 5 sec, 3 ms", "took|<*>|,|<*>");
}

#[test]
fn phrases_and_lists_are_one_token() {
    check("said \"not now\" twice", "said|\"|not now|\"|twice");
    check("said \"not 7 now\"", "said|\"|not|<*>|now|\"");
    check("of [red, green] kinds", "of|[|red, green|]|kinds");
    check("of [1, 2] kinds", "of|[|<*>|]|kinds");
    check("of [] and [one]", "of|[|]|and|[|one|]");
    check("of red,green, blue,5 pens", "of|red|,|green|,|blue|,|<*>|pens");
    check("of red,green,blue pens", "of|red,green,blue|pens");
    check("is=red,at=5", "is|=|red|,|at|=|<*>");
}

#[test]
fn empty_values_look_like_values() {
    check("a= b=2", "a|=|<*>|b|=|<*>");
    check("a=", "a|=|<*>");
    check("a= word", "a|=|word");
}

#[test]
fn dates_are_variables_beside_values() {
    check("on Tue Mar 4 2031 12:00 UTC", "on|<*>");
    check("in Mar", "in|Mar");
}

#[test]
fn characters_outside_ascii_keep_their_boundaries() {
    check("größe\u{3000}ändern „jetzt“ 7°", "größe|ändern|„jetzt“|<*>");
    check("/pfad/größe→x", "<*>");
}

#[test]
fn values_are_known_by_what_stands_before() {
    let line = "user joe k=v k: w [x] y";
    let mut tokens = Vec::new();
    tokenize(line, 256, &mut tokens);
    let values: Vec<&str> = tokens.iter().filter(|token| token.value).map(|token| token.text(line)).collect();
    assert_eq!(values, ["joe", "v", "x"]);
}

#[test]
fn tokens_beyond_the_bound_are_left_out() {
    let mut tokens = Vec::new();
    assert!(!tokenize("a b c \"d e\"", 4, &mut tokens));
    assert_eq!(tokens.len(), 4);
}
