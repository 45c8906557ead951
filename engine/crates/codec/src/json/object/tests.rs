use super::*;

fn objects(payload: &str) -> Result<Vec<String>, Rejected> {
    let mut found = Vec::new();
    each_object(payload.as_bytes(), |object| {
        let members: Vec<String> =
            object.members().map(|(key, value)| format!("{key}={}", value.get())).collect();
        found.push(members.join(" "));
        Ok(())
    })?;
    Ok(found)
}

#[test]
fn objects_come_alone_in_lines_and_in_arrays() {
    assert_eq!(objects(r#" {"a":1, "b\n":"x"} "#).unwrap(), ["a=1 b\n=\"x\""]);
    assert_eq!(objects("{\"a\":1}\n{\"a\":2}{}\n").unwrap(), ["a=1", "a=2", ""]);
    assert_eq!(objects(r#"[{"a":1},{"a":{"b":[2]}}] [] {"c":3}"#).unwrap(), ["a=1", r#"a={"b":[2]}"#, "c=3"]);
    assert_eq!(objects(" \n").unwrap(), Vec::<String>::new());
    // In a time that grows with the payload and not with its square.
    assert_eq!(objects(&"{}\n".repeat(300_000)).unwrap().len(), 300_000);
    assert_eq!(objects(&"[{}]".repeat(300_000)).unwrap().len(), 300_000);
    for (payload, reason) in [
        ("[1]", "no JSON: invalid type: integer `1`, expected a JSON object at line 1 column 2"),
        ("1", "no JSON: invalid type: integer `1`, expected a JSON object at line 1 column 1"),
        ("{\"a\":1}\n{\"a\":", "no JSON: EOF while parsing a value at line 2 column 5"),
        ("{\"a\":1}]", "no JSON: expected value at line 1 column 8"),
    ] {
        assert_eq!(objects(payload).unwrap_err().to_string(), reason, "{payload}");
    }
}

#[test]
fn a_rejection_ends_the_reading() {
    let mut count = 0;
    let rejected = each_object(b"[{},{}] {}", |_| {
        count += 1;
        if count == 2 { Err(Rejected::TooManyRows { limit: 1 }) } else { Ok(()) }
    });
    assert_eq!((rejected, count), (Err(Rejected::TooManyRows { limit: 1 }), 2));
}

#[test]
fn members_are_found_by_path() {
    let text_of = |payload: &'static str, name: &str| {
        let object: Object<'static> = serde_json::from_str(payload).unwrap();
        object.text(&[name]).map(Cow::into_owned)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(text_of(r#"{"log.level":"a","log":{"level":"b"}}"#, "log.level"), some("a"));
    assert_eq!(text_of(r#"{"log":{"level":"b"}}"#, "log.level"), some("b"));
    assert_eq!(text_of(r#"{"a":{"b.c":{"d":7}}}"#, "a.b.c.d"), some("7"));
    assert_eq!(text_of(r#"{"a":1,"a":"x\ty"}"#, "a"), some("x\ty"));
    assert_eq!(text_of(r#"{"a":{"b": [1]}}"#, "a"), some(r#"{"b": [1]}"#));
    assert_eq!(text_of(r#"{"a":null,"b":""}"#, "a"), None);
    assert_eq!(text_of(r#"{"a":"\ud800"}"#, "a"), None);
}

#[test]
fn numbers_may_be_text() {
    let number_of = |json: &str| number(&serde_json::from_str::<Box<RawValue>>(json).unwrap());
    for (json, expected) in [
        ("1.5", Some(1.5)),
        ("\" 2 \"", Some(2.0)),
        ("true", Some(1.0)),
        ("null", None),
        ("\"x\"", None),
        ("{}", None),
    ] {
        assert_eq!(number_of(json), expected, "{json}");
    }
}
