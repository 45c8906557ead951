//! The plain words that logs of any system share. A word in a slot that is none of them is likely a name, so fewer of them prove a variable.
//!
//! Used on the slow path only. The list holds base forms; common endings and plurals are rules.

/// Whether `word` is common in logs, or has a common ending.
pub(crate) fn is_common(word: &str) -> bool {
    if word.len() >= 5 && ENDINGS.iter().any(|ending| ends_with(word, ending)) {
        return true;
    }
    let Some(&last) = word.as_bytes().last() else { return false };
    contains(word.as_bytes())
        || (last.eq_ignore_ascii_case(&b's') && contains(&word.as_bytes()[..word.len() - 1]))
}

fn ends_with(word: &str, ending: &str) -> bool {
    let (word, ending) = (word.as_bytes(), ending.as_bytes());
    word.len() >= ending.len() && word[word.len() - ending.len()..].eq_ignore_ascii_case(ending)
}

fn contains(word: &[u8]) -> bool {
    let lower = |byte: &u8| byte.to_ascii_lowercase();
    WORDS.binary_search_by(|known| known.bytes().cmp(word.iter().map(lower))).is_ok()
}

const ENDINGS: [&str; 20] = [
    "ed", "ing", "tion", "sion", "ment", "ness", "able", "ible", "ly", "ity", "ance", "ence", "ful", "less",
    "ize", "ise", "ized", "ated", "ates", "ions",
];

/// Sorted.
#[rustfmt::skip]
const WORDS: [&str; 467] = [
    "a", "about", "above", "access", "account", "active", "add", "address", "after", "against", "agent", "alert", "all", "am", "an", "and", "any",
    "are", "async", "at", "attach", "attempt", "average", "back", "backup", "bad", "batch", "be", "because", "been", "before", "began", "begin",
    "below", "between", "block", "boot", "both", "broker", "browser", "buffer", "build", "busy", "by", "byte", "cache", "call", "can", "cancel",
    "cannot", "channel", "check", "child", "class", "clear", "client", "clock", "clone", "close", "cluster", "code", "command", "commit", "component",
    "config", "connect", "console", "consumer", "container", "content", "context", "controller", "copy", "core", "could", "count", "cpu", "crash",
    "create", "critical", "current", "data", "database", "date", "day", "deadlock", "debug", "default", "delay", "delete", "deny", "detect", "device",
    "did", "direct", "directory", "disk", "do", "does", "done", "down", "download", "driver", "drop", "due", "dump", "each", "else", "emergency",
    "empty", "end", "endpoint", "enter", "entry", "error", "event", "every", "exist", "exit", "expect", "external", "fail", "failure", "false",
    "fatal", "fetch", "field", "file", "filter", "final", "find", "finish", "firmware", "first", "fix", "flush", "follower", "for", "format", "found",
    "free", "from", "front", "full", "gave", "get", "give", "good", "got", "group", "had", "handle", "handler", "handshake", "hardware", "has",
    "hash", "have", "header", "heap", "heartbeat", "held", "high", "hold", "host", "hour", "how", "idle", "if", "image", "in", "index", "info",
    "init", "initial", "input", "interface", "internal", "interrupt", "into", "invalid", "is", "issue", "it", "item", "job", "join", "just", "kernel",
    "key", "kill", "know", "large", "last", "latency", "leader", "least", "leave", "left", "level", "limit", "line", "link", "list", "listen", "load",
    "local", "lock", "log", "login", "logout", "low", "machine", "main", "major", "manager", "map", "match", "max", "maximum", "member", "memory",
    "merge", "message", "metadata", "method", "metric", "might", "migrate", "min", "minimum", "minor", "minute", "mode", "module", "monitor", "more",
    "mount", "move", "must", "name", "need", "network", "new", "next", "no", "node", "none", "normal", "not", "notice", "now", "null", "number",
    "object", "of", "off", "offline", "offset", "ok", "okay", "old", "on", "once", "online", "only", "onto", "open", "operator", "or", "order",
    "other", "out", "output", "over", "overflow", "own", "packet", "page", "panic", "parent", "parse", "partial", "path", "pause", "peer", "per",
    "point", "pool", "port", "post", "power", "prepare", "previous", "primary", "process", "producer", "protocol", "pull", "push", "put", "query",
    "queue", "ran", "rate", "raw", "read", "ready", "reason", "reboot", "receive", "reconnect", "record", "recover", "refresh", "refuse", "region",
    "register", "reject", "release", "reload", "remain", "remote", "remove", "replace", "replica", "report", "request", "require", "reset", "resolve",
    "resource", "respond", "response", "restart", "restore", "result", "resume", "retry", "return", "role", "rollback", "root", "run", "save", "scan",
    "schedule", "schema", "script", "search", "second", "secondary", "seen", "select", "send", "sent", "server", "service", "set", "setup", "shall",
    "shard", "short", "should", "shut", "shutdown", "signal", "since", "size", "skip", "sleep", "slot", "slow", "snapshot", "socket", "some",
    "source", "space", "stack", "stage", "stale", "start", "state", "static", "status", "step", "stop", "storage", "store", "stream", "submit",
    "success", "switch", "sync", "system", "target", "task", "template", "test", "than", "that", "the", "their", "then", "these", "they", "this",
    "those", "thread", "threshold", "through", "time", "timeout", "timestamp", "to", "token", "too", "took", "topic", "total", "trace", "transfer",
    "trigger", "true", "type", "under", "unit", "unknown", "unlock", "until", "up", "update", "upgrade", "upload", "user", "valid", "value", "verify",
    "via", "virtual", "volume", "wait", "warn", "was", "we", "were", "what", "when", "where", "which", "while", "who", "why", "will", "window",
    "with", "within", "without", "work", "worker", "would", "write", "written", "wrote", "yes", "yet", "you",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_sorted_lower_case_and_needed() {
        assert!(WORDS.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(WORDS.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())));
        let by_ending: Vec<_> = WORDS
            .iter()
            .filter(|word| word.len() >= 5 && ENDINGS.iter().any(|ending| word.ends_with(ending)))
            .collect();
        assert!(by_ending.is_empty(), "{by_ending:?}");
    }

    #[test]
    fn common_words_in_any_case_plural_or_derived() {
        for word in ["server", "Server", "SERVERS", "Queues", "opened", "Opening", "connection", "quickly"] {
            assert!(is_common(word), "{word}");
        }
    }

    #[test]
    fn names_are_not_common() {
        for word in ["", "s", "zanzibar", "Alice", "kestrel", "red", "größe"] {
            assert!(!is_common(word), "{word}");
        }
    }
}
