//! One silence: which alerts are held back, when, and who said so.

use model::{Labels, Matcher};
use serde::{Deserialize, Serialize};

use crate::window::Windows;

const MATCHERS_MAX: usize = 32;
const TEXT_BYTES_MAX: usize = 1_024;
const COMMENT_BYTES_MAX: usize = 4_096;

/// When it holds again, after `starts_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurrence {
    /// An RRULE of RFC 5545, at most daily.
    pub rule: String,
    /// IANA name of the zone by whose clock it recurs.
    pub time_zone: String,
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NewSilence {
    /// The labels of an alert must satisfy all of them.
    pub matchers: Vec<String>,
    /// Milliseconds since the epoch; the end does not belong to it.
    pub starts_ms: i64,
    pub ends_ms: i64,
    pub recurrence: Option<Recurrence>,
    pub comment: String,
    pub author: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    Added,
    Expired,
}

/// Who did what to a silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub kind: ChangeKind,
    pub time_ms: i64,
    pub author: String,
    pub comment: String,
}

/// A silence as it lies on its topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    pub id: String,
    pub matchers: Vec<String>,
    pub starts_ms: i64,
    pub ends_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrence: Option<Recurrence>,
    pub comment: String,
    pub author: String,
    /// When somebody ended it before its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expired_ms: Option<i64>,
    /// In their order, the first being that it was added.
    pub changes: Vec<Change>,
}

/// What is wrong with a silence, and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSilence(pub(crate) String);

impl Silence {
    /// `now_ms` becomes part of the id, which is the same for nobody else.
    pub fn new(new: NewSilence, now_ms: i64) -> Result<Silence, InvalidSilence> {
        let mut content = format!("{now_ms} {} {} {}", new.starts_ms, new.ends_ms, new.author);
        new.matchers.iter().for_each(|matcher| {
            content.push('\0');
            content.push_str(matcher);
        });
        let id = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(content.as_bytes()));
        let added = Change {
            kind: ChangeKind::Added,
            time_ms: now_ms,
            author: new.author.clone(),
            comment: new.comment.clone(),
        };
        let silence = Silence {
            id,
            matchers: new.matchers,
            starts_ms: new.starts_ms,
            ends_ms: new.ends_ms,
            recurrence: new.recurrence,
            comment: new.comment,
            author: new.author,
            expired_ms: None,
            changes: vec![added],
        };
        let compiled = silence.compile()?;
        if compiled.windows.is_over(now_ms) {
            return Err(InvalidSilence("ends_ms is over already; nothing would be silenced".to_owned()));
        }
        Ok(silence)
    }

    /// Ended by somebody from `now_ms` on. One that is over stays as it is.
    pub fn expired(mut self, author: &str, comment: &str, now_ms: i64) -> Result<Silence, InvalidSilence> {
        check_author(author)?;
        if comment.len() > COMMENT_BYTES_MAX {
            return Err(InvalidSilence("comment may have at most 4 KiB".to_owned()));
        }
        if self.expired_ms.is_none() {
            self.expired_ms = Some(now_ms);
            let (author, comment) = (author.to_owned(), comment.to_owned());
            self.changes.push(Change { kind: ChangeKind::Expired, time_ms: now_ms, author, comment });
        }
        Ok(self)
    }

    pub(crate) fn compile(&self) -> Result<Compiled, InvalidSilence> {
        let wrong = |message: &str| Err(InvalidSilence(message.to_owned()));
        if !(1..=MATCHERS_MAX).contains(&self.matchers.len()) {
            return wrong("give 1 to 32 matchers, such as service=\"cart\"");
        }
        if self.matchers.iter().any(|matcher| matcher.len() > TEXT_BYTES_MAX) {
            return wrong("a matcher is longer than 1 KiB");
        }
        check_author(&self.author)?;
        if self.comment.trim().is_empty() || self.comment.len() > COMMENT_BYTES_MAX {
            return wrong("comment must be given, with at most 4 KiB: say why");
        }
        if self.ends_ms <= self.starts_ms {
            return wrong("ends_ms must be after starts_ms");
        }
        let matchers: Result<Vec<Matcher>, _> =
            self.matchers.iter().map(|matcher| Matcher::try_from(matcher.clone())).collect();
        let matchers = matchers.map_err(|error| InvalidSilence(error.to_string()))?;
        let nothing = Labels::default();
        if matchers.iter().all(|matcher| matcher.matches(&nothing)) {
            return wrong("the matchers would silence everything; at least one must ask for a label");
        }
        let windows = Windows::new(self.starts_ms, self.ends_ms, self.recurrence.as_ref());
        let windows = windows.map_err(|message| InvalidSilence(format!("recurrence: {message}")))?;
        Ok(Compiled { matchers, windows })
    }
}

fn check_author(author: &str) -> Result<(), InvalidSilence> {
    if author.trim().is_empty() || author.len() > TEXT_BYTES_MAX {
        return Err(InvalidSilence("author must be given, with at most 1 KiB".to_owned()));
    }
    Ok(())
}

/// What a silence says, ready to be asked.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) windows: Windows,
}

#[cfg(test)]
pub(crate) fn new_silence(matcher: &str, starts_ms: i64, ends_ms: i64) -> NewSilence {
    NewSilence {
        matchers: vec![matcher.to_owned()],
        starts_ms,
        ends_ms,
        recurrence: None,
        comment: "upgrade of the database".to_owned(),
        author: "ada".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_to_give() {
        let ok = new_silence("service=cart", 0, 100);
        assert!(Silence::new(ok.clone(), 50).is_ok());
        for (new, part) in [
            (NewSilence { matchers: vec![], ..ok.clone() }, "1 to 32"),
            (NewSilence { matchers: vec!["cart".to_owned()], ..ok.clone() }, "no operator"),
            (NewSilence { matchers: vec!["service=~.*".to_owned()], ..ok.clone() }, "everything"),
            (NewSilence { matchers: vec!["service!=cart".to_owned()], ..ok.clone() }, "everything"),
            (NewSilence { author: " ".to_owned(), ..ok.clone() }, "author"),
            (NewSilence { comment: String::new(), ..ok.clone() }, "say why"),
            (NewSilence { ends_ms: 0, ..ok.clone() }, "after starts_ms"),
            (NewSilence { ends_ms: 50, ..ok.clone() }, "over already"),
        ] {
            let message = Silence::new(new, 50).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn it_is_ended_once_and_by_whom_is_kept() {
        let silence = Silence::new(new_silence("service=cart", 0, 100), 50).unwrap();
        let expired =
            silence.clone().expired("bob", "done", 60).unwrap().expired("eve", "again", 70).unwrap();
        assert!(silence.clone().expired("", "done", 60).is_err());
        assert_eq!(
            (expired.id.as_str(), expired.expired_ms, expired.changes.len()),
            (silence.id.as_str(), Some(60), 2)
        );
        assert_eq!(
            (expired.changes[1].author.as_str(), expired.changes[1].comment.as_str()),
            ("bob", "done")
        );
        let text = serde_json::to_string(&expired).unwrap();
        assert_eq!(serde_json::from_str::<Silence>(&text).unwrap(), expired);
    }
}
