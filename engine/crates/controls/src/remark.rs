//! What people say of an incident: that somebody looks after it, and whether the engine was right.

use serde::{Deserialize, Serialize};

const TEXT_BYTES_MAX: usize = 1_024;
const COMMENT_BYTES_MAX: usize = 4_096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemarkKind {
    /// Somebody looks after it.
    Acknowledged,
    /// That was to be expected: a load test, a migration.
    Expected,
    /// Nothing was wrong.
    Noise,
    /// The first-ranked cause was right.
    Right,
    /// It was not; `cause` says which was, if that is known.
    WrongCause,
}

impl RemarkKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Expected => "expected",
            Self::Noise => "noise",
            Self::Right => "right",
            Self::WrongCause => "wrong_cause",
        }
    }
}

/// What somebody wants to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRemark {
    pub incident: String,
    pub kind: RemarkKind,
    pub cause: Option<String>,
    pub comment: String,
    pub author: String,
}

/// Who took a remark back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undone {
    pub author: String,
    pub time_ms: i64,
}

/// A remark as it lies on its topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    pub id: String,
    pub incident: String,
    pub kind: RemarkKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    pub comment: String,
    pub author: String,
    pub time_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<Undone>,
}

/// What is wrong with a remark, and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRemark(String);

impl Remark {
    pub fn new(new: NewRemark, now_ms: i64) -> Result<Remark, InvalidRemark> {
        let content = format!("{now_ms} {} {} {}", new.incident, new.kind.as_str(), new.author);
        let remark = Remark {
            id: format!("{:016x}", xxhash_rust::xxh3::xxh3_64(content.as_bytes())),
            incident: new.incident,
            kind: new.kind,
            cause: new.cause.filter(|cause| !cause.is_empty()),
            comment: new.comment,
            author: new.author,
            time_ms: now_ms,
            undone: None,
        };
        remark.validate()?;
        Ok(remark)
    }

    /// Taken back. One that was taken back before stays as it is.
    pub fn undo(mut self, author: &str, now_ms: i64) -> Result<Remark, InvalidRemark> {
        check_author(author)?;
        self.undone.get_or_insert_with(|| Undone { author: author.to_owned(), time_ms: now_ms });
        Ok(self)
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidRemark> {
        let wrong = |message: &str| Err(InvalidRemark(message.to_owned()));
        check_author(&self.author)?;
        if self.incident.is_empty() || self.incident.len() > TEXT_BYTES_MAX || self.incident.contains('/') {
            return wrong("incident must be the id of one");
        }
        if self.comment.len() > COMMENT_BYTES_MAX {
            return wrong("comment may have at most 4 KiB");
        }
        match &self.cause {
            Some(cause) if cause.len() > TEXT_BYTES_MAX => wrong("cause may have at most 1 KiB"),
            Some(_) if self.kind != RemarkKind::WrongCause => wrong("only wrong_cause takes a cause"),
            _ => Ok(()),
        }
    }
}

pub(crate) fn check_author(author: &str) -> Result<(), InvalidRemark> {
    if author.trim().is_empty() || author.len() > TEXT_BYTES_MAX {
        return Err(InvalidRemark("author must be given, with at most 1 KiB".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) fn new_remark(incident: &str, kind: RemarkKind) -> NewRemark {
    NewRemark {
        incident: incident.to_owned(),
        kind,
        cause: None,
        comment: "it was the database".to_owned(),
        author: "ada".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_to_give() {
        let ok = new_remark("i", RemarkKind::WrongCause);
        assert!(Remark::new(NewRemark { cause: Some("db".to_owned()), ..ok.clone() }, 1).is_ok());
        for (new, part) in [
            (NewRemark { author: String::new(), ..ok.clone() }, "author"),
            (NewRemark { incident: "a/b".to_owned(), ..ok.clone() }, "incident"),
            (NewRemark { comment: "x".repeat(5_000), ..ok.clone() }, "4 KiB"),
            (
                NewRemark { kind: RemarkKind::Right, cause: Some("db".to_owned()), ..ok.clone() },
                "wrong_cause",
            ),
        ] {
            let message = Remark::new(new, 1).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
