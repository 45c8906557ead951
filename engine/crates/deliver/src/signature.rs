//! Signatures of webhooks as [Standard Webhooks](https://www.standardwebhooks.com) has them, for which there are libraries in most languages.
//!
//! `webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `webhook-id.webhook-timestamp.body`. Who checks it also refuses timestamps
//! that are old, so that nobody can play a request again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Secret;
use ring::hmac;

/// The key may follow this in base64; any other secret is taken as it is.
const PREFIX: &str = "whsec_";

pub(crate) fn headers(
    id: &str,
    timestamp_s: i64,
    body: &[u8],
    secret: Option<&Secret>,
) -> Vec<(&'static str, String)> {
    let mut headers = vec![("webhook-id", id.to_owned()), ("webhook-timestamp", timestamp_s.to_string())];
    if let Some(secret) = secret {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key_bytes(secret.reveal()));
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{id}.{timestamp_s}.").as_bytes());
        context.update(body);
        headers.push(("webhook-signature", format!("v1,{}", STANDARD.encode(context.sign()))));
    }
    headers
}

fn key_bytes(secret: &str) -> Vec<u8> {
    let encoded = secret.strip_prefix(PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
    encoded.unwrap_or_else(|| secret.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let headers =
            headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#, Some(&secret));
        assert_eq!(
            headers[2],
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned())
        );
    }

    #[test]
    fn id_time_and_body_are_signed() {
        let signed =
            |id, time, body: &[u8], secret| headers(id, time, body, Some(&Secret::new(secret)))[2].1.clone();
        let first = signed("a", 1, b"x", "secret");
        for other in [
            signed("b", 1, b"x", "secret"),
            signed("a", 2, b"x", "secret"),
            signed("a", 1, b"y", "secret"),
            signed("a", 1, b"x", "other"),
        ] {
            assert_ne!(first, other);
        }
    }
}
