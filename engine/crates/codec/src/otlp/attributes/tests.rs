use prost::Message as _;
use proto::opentelemetry::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value};

use super::*;

fn any(value: any_value::Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn text_of(value: &AnyValue, depth_max: usize) -> Result<String, Rejected> {
    text("value", &Message::of(&value.encode_to_vec()), depth_max).map(Cow::into_owned)
}

fn check(value: any_value::Value, expected: &str) {
    assert_eq!(text_of(&any(value), 4).unwrap(), expected);
}

#[test]
fn values_become_text() {
    use any_value::Value;
    check(Value::StringValue("a \"b\"".into()), "a \"b\"");
    check(Value::BoolValue(true), "true");
    check(Value::IntValue(-3), "-3");
    check(Value::DoubleValue(0.5), "0.5");
    check(Value::DoubleValue(f64::NAN), "NaN");
    check(Value::BytesValue(b"any".to_vec()), "YW55");
    check(Value::BytesValue(b"an".to_vec()), "YW4=");
    check(Value::BytesValue(b"a".to_vec()), "YQ==");
    let list = KeyValueList {
        values: vec![
            KeyValue {
                key: "k\n".into(),
                value: Some(any(Value::StringValue("v".into()))),
                ..Default::default()
            },
            KeyValue { key: "none".into(), value: None, ..Default::default() },
        ],
    };
    let array = ArrayValue { values: vec![any(Value::IntValue(1)), any(Value::KvlistValue(list))] };
    check(Value::ArrayValue(array), r#"[1,{"k\n":"v","none":null}]"#);
    assert_eq!(text("value", &Message::default(), 4).unwrap(), "");
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| {
        (0..levels).fold(any(any_value::Value::IntValue(1)), |inner, _| {
            any(any_value::Value::ArrayValue(ArrayValue { values: vec![inner] }))
        })
    };
    assert_eq!(text_of(&nested(3), 4).unwrap(), "[[[1]]]");
    assert_eq!(text_of(&nested(4), 4), Err(Rejected::TooDeep { limit: 4 }));
}

#[test]
fn members_that_follow_one_another_are_merged_or_replaced() {
    let array = |number| {
        any(any_value::Value::ArrayValue(ArrayValue {
            values: vec![any(any_value::Value::IntValue(number))],
        }))
    };
    let bytes =
        |values: &[AnyValue]| values.iter().flat_map(|value| value.encode_to_vec()).collect::<Vec<_>>();
    let merged = |values: &[AnyValue]| text("value", &Message::of(&bytes(values)), 4).unwrap().into_owned();
    assert_eq!(merged(&[array(1), array(2)]), "[1,2]");
    assert_eq!(merged(&[array(1), any(any_value::Value::BoolValue(true)), array(2)]), "[2]");
    assert_eq!(merged(&[array(1), any(any_value::Value::StringValue("x".into()))]), "x");
}
