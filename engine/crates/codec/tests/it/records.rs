//! Records of every format, valid and damaged, from fixed seeds, so that a failure comes again. Tests of the engine have them too.

/// Some records of a format that is text, as they should be; none of one in protobuf.
pub fn texts(signal: &str, encoding: &str) -> Vec<Vec<u8>> {
    let texts: &[&str] = match (signal, encoding) {
        ("metrics", "otlp_json") => &[
            r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"g","sum":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"9000000","asDouble":0.25,"attributes":[{"key":"n","value":{"arrayValue":{"values":[{"intValue":"7"}]}}}]}]}}]}]}]}"#,
        ],
        ("logs", "otlp_json") => &[
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"3000000","severityNumber":17,"body":{"bytesValue":"YWI="},"traceId":"00000000000000000000000000000005"}]}]}]}"#,
        ],
        ("spans", "otlp_json") => &[
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"a","kind":2,"startTimeUnixNano":"3999"}]}]}]}"#,
        ],
        ("metrics", "influx") => &[
            "cpu,host=h\\ 1 idle=98.5,n=4i,text=\"a \\\" b\" 1760000000000000000\n# c\ncpu value=t 1760000000",
        ],
        ("metrics", "json") => &[
            r#"{"timestamp":1760000000,"name":"q","value":3,"labels":{"service":"cart","z":"\u0061"}}[{"time":"2025-10-09T08:53:20Z","metric":"m","value":"1"}]"#,
        ],
        ("logs", "json") => &[
            r#"{"timestamp":1760000000,"level":"error","message":"disk \u0066ull","service":"cart","trace_id":"0f"}[{"msg":{"a":[1]}}]"#,
        ],
        ("logs", "ecs_json") => &[
            r#"{"@timestamp":"2025-10-09T08:53:20.123Z","message":"failed","log":{"level":"ERROR"},"service.name":"cart","trace":{"id":"0f"}}"#,
        ],
        ("logs", "fluentbit_json") => &[
            r#"[{"date":1760000000.123,"log":"oom\n","kubernetes":{"labels":{"app":"cart"}}},{"@timestamp":1760000000,"message":{}}]"#,
        ],
        ("logs", "splunk_hec_json") => &[
            r#"{"time":1760000000.5,"event":{"message":"deep"},"fields":{"service.name":"cart"}}{"time":"1760000000","event":"x"}"#,
        ],
        ("logs", "plain") => &[
            "2025-10-09T08:53:20Z ERROR failed\n  at a()\n[2025-10-09 08:53:21,5] é",
            "<165>1 2025-10-09T08:53:20.000Z host cart 8710 ID47 [a@1 b=\"x\\\"] y\"] low on disk",
        ],
        ("spans", "zipkin_json") => &[
            r#"[{"traceId":"5af7183fb1d4cf5f","id":"352bff9a74ca9ad2","timestamp":1556604172355737,"duration":1431,"localEndpoint":{"serviceName":"b"},"tags":{"error":""}}]"#,
        ],
        ("events", "cloud_events") => &[
            r#"[{"specversion":"1.0","id":"7","source":"/ci","type":"deploy","time":"2025-10-09T08:53:20Z","data":{"service":"cart"}}]"#,
        ],
        ("events", "cdevents") => &[
            r#"{"context":{"id":"i","source":"/ci","type":"dev.cdevents.service.deployed.0.1.1","timestamp":"2025-10-09T08:53:20Z"},"subject":{"id":"/s/cart","content":{"artifactId":"a"}}}"#,
        ],
        ("events", "alertmanager_json") => &[
            r#"{"alerts":[{"status":"firing","labels":{"alertname":"Slow","job":"cart"},"startsAt":"2025-10-09T08:53:20Z"}]}"#,
        ],
        ("events", "kubernetes_events_json") => &[
            r#"{"items":[{"metadata":{"uid":"u"},"involvedObject":{"kind":"Pod","name":"cart-5d9f7c6b8-x2x7z"},"eventTime":"2025-10-09T08:53:20Z"}]}"#,
        ],
        _ => &[],
    };
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// A record that a valid one has become, or that never was one.
pub fn record(valid: &[Vec<u8>], random: &mut Random, bytes_max: usize) -> Vec<u8> {
    if random.below(10) == 0 {
        return (0..random.below(200)).map(|_| random.next() as u8).collect();
    }
    let mut bytes = valid[random.below(valid.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            2 => bytes.insert(at, random.next() as u8),
            3 => {
                // A part once more, as long as the record may be.
                let part = bytes[at..(at + random.below(64)).min(bytes.len())].to_vec();
                for _ in 0..random.below(100) {
                    if bytes.len() + part.len() <= bytes_max {
                        bytes.splice(at..at, part.iter().copied());
                    }
                }
            }
            4 if !bytes.is_empty() => {
                // What has a meaning in one of the formats.
                const CHARACTERS: &[u8] = b"{}[]\",:\\ =\n\x00\x0a\x7f\x80\xff09-eE.";
                bytes[at] = CHARACTERS[random.below(CHARACTERS.len())];
            }
            5 => bytes.extend(valid[random.below(valid.len())].clone()),
            _ if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
    bytes
}
