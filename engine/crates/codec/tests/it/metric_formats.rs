//! Influx line protocol and JSON samples.

use foreshock_codec::Dropped;

use crate::{reason, rows};

const INFLUX: (&str, &str) = ("metrics", "influx");
const JSON: (&str, &str) = ("metrics", "json");

#[test]
fn influx_lines() {
    let payload = concat!(
        "# a comment \"\n",
        "cpu,host=h1,service=cart usage_idle=98.5,cores=4i,busy=t 1760000000000000000\n",
        "\r\n",
        "http_requests_total,job=web value=7u 1760000000000\n",
        "a\\ b\\,c,zone\\=x=eu\\ west,d=\\q f\\=g=-1e3,note=\"quoted \\\" , = \nline\",n=2 1760000000\n",
        "gauge,service.name=cart,service.namespace=shop value=NaN 1760000000\n",
        "timeless value=1\n",
    );
    let expected = [
        "Gauge __name__=cpu_usage_idle,host=h1,service=cart,service.name=cart start None at 1760000000000 = 98.5",
        "Gauge __name__=cpu_cores,host=h1,service=cart,service.name=cart start None at 1760000000000 = 4",
        "Gauge __name__=cpu_busy,host=h1,service=cart,service.name=cart start None at 1760000000000 = 1",
        "Counter __name__=http_requests_total,job=web,service.name=web start None at 1760000000000 = 7",
        r"Gauge __name__=a b\,c_f\=g,d=\\q,service.name=unknown_service,zone\=x=eu west start None at 1760000000000 = -1000",
        r"Gauge __name__=a b\,c_n,d=\\q,service.name=unknown_service,zone\=x=eu west start None at 1760000000000 = 2",
    ];
    let (lines, dropped) = rows(INFLUX, payload);
    assert_eq!(lines, expected);
    assert_eq!(dropped, Dropped { no_value: 1, non_finite: 1, no_time: 1, ..Dropped::default() });
}

#[test]
fn influx_lines_that_cannot_be_read() {
    for (line, why) in [
        ("cpu", "it has no fields"),
        (",host=h value=1", "it has no measurement"),
        ("cpu value", "\"value\" is no field with a value"),
        ("cpu =1", "\"=1\" is no field with a value"),
        ("cpu value=", "\"\" is no value"),
        ("cpu value=12x 5", "\"12x\" is no value"),
        ("cpu value=99999999999999999999i 5", "\"99999999999999999999i\" is no value"),
        ("cpu value=1 yesterday", "\"yesterday\" is no time"),
        ("cpu value=1 5 6", "\"5 6\" is no time"),
        ("cpu,host value=1 5", "\"host\" is no tag with a value"),
        ("cpu text=\"no end 5", "a text in quotes does not end"),
        ("cpu text=\"end\"x 5", "\"x 5\" follows a text in quotes"),
    ] {
        let payload = format!("fine value=1 1760000000\n\n{line}\nfine value=1 1760000000");
        assert_eq!(reason(INFLUX, &payload), format!("no Influx line protocol: line 3: {why}"), "{line}");
    }
    assert!(reason(INFLUX, b"cpu value=\xff").contains("invalid utf-8"));
}

/// In a time that grows with the payload and not with its square.
#[test]
fn influx_of_empty_lines() {
    let payload = "\n".repeat(1 << 20) + "cpu value=1 1760000000";
    assert_eq!(rows(INFLUX, payload).0.len(), 1);
}

#[test]
fn json_samples() {
    let payload = r#"
        {"timestamp": 1760000000, "name": "queue", "value": 3, "labels": {"service": "cart", "zone": "a", "n": 1, "none": null}}
        {"time": "2025-10-09T08:53:20.5Z", "metric": "requests_total", "value": "2.5", "tags": {"zone": "\u0061"}, "service": "web"}
        [{"@timestamp": "2025-10-09 08:53:20", "name": "queue", "value": true, "labels": {"a.b": "x"}, "tags": {"c": [1, 2]}, "kind": "delta"},
         {"timestamp": 1760000000000, "name": "queue", "value": null},
         {"name": "queue", "value": 1},
         {"timestamp": 1, "name": "queue", "value": "Infinity"}]
        {"timestamp": 1760000000, "name": "queue", "value": 4, "labels": {"zone": "a", "service": "cart", "n": "1"}}
    "#;
    let expected = [
        "Gauge __name__=queue,n=1,service=cart,service.name=cart,zone=a start None at 1760000000000 = 3",
        "Counter __name__=requests_total,service.name=web,zone=a start None at 1760000000500 = 2.5",
        r"Delta __name__=queue,a.b=x,c=[1\, 2],service.name=unknown_service start None at 1760000000000 = 1",
        "Gauge __name__=queue,n=1,service=cart,service.name=cart,zone=a start None at 1760000000000 = 4",
    ];
    let (lines, dropped) = rows(JSON, payload);
    assert_eq!(lines, expected);
    assert_eq!(dropped, Dropped { no_value: 1, non_finite: 1, no_time: 1, ..Dropped::default() });
}

#[test]
fn json_service_that_is_empty_is_none() {
    for (members, expected) in [
        (r#""service": "", "labels": {"job": "cart"}"#, "job=cart,service.name=cart"),
        (r#""service.name": "", "service": "cart""#, "service.name=cart"),
        (r#""service": {"name": "", "id": 1}, "labels": {"app": "cart"}"#, "app=cart,service.name=cart"),
        (r#""service": [], "labels": {}"#, "service.name=unknown_service"),
        (r#""service": null, "labels": {"job": ""}"#, "job=,service.name=unknown_service"),
    ] {
        let payload = format!(r#"{{"time": 1760000000, "name": "q", "value": 1, {members}}}"#);
        let expected = format!("Gauge __name__=q,{expected} start None at 1760000000000 = 1");
        assert_eq!(rows(JSON, payload), (vec![expected], Dropped::default()), "{members}");
    }
}

#[test]
fn json_that_is_no_sample() {
    for (payload, expected) in [
        (r#"{"value": 1}"#, "no JSON sample: it has none of the members name, metric"),
        (r#"{"name": "a", "value": "one"}"#, "no JSON sample: \"one\" is no number"),
        (r#"{"name": "a", "value": {}}"#, "no JSON sample: {} is no number"),
        (r#"{"name": "a", "value": 1, "time": "now"}"#, "no JSON sample: \"now\" is no time"),
        (
            r#"{"name": "\ud800", "value": 1, "time": 5}"#,
            "no JSON sample: \"\\ud800\" holds no text in Unicode",
        ),
        (r#"{"name": "a", "#, "no JSON: EOF while parsing a value at line 1 column 14"),
        ("[3]", "no JSON: invalid type: integer `3`, expected a JSON object at line 1 column 2"),
    ] {
        assert_eq!(reason(JSON, payload), expected, "{payload}");
    }
}
