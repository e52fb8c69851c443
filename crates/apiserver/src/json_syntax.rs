//! Why a text is no JSON, in the words of Go's `encoding/json`, which clients and people know from the real server.
//!
//! Asked only about texts that the parser refused. It keeps its place in a list, not on the stack, so no nesting is too deep for it.

/// The first thing that is wrong; none if the text is one JSON value.
pub(crate) fn complaint(text: &[u8]) -> Option<String> {
    Scanner { text, at: 0 }.document().err()
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), String> {
        let mut open = Vec::new();
        loop {
            self.value(&mut open)?;
            // Every value that ends here may end those around it.
            loop {
                self.space();
                match (open.last(), self.peek()) {
                    (None, None) => return Ok(()),
                    (None, Some(_)) => return Err(self.unexpected("after top-level value")),
                    (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')) => {
                        self.at += 1;
                        open.pop();
                    }
                    (Some(b'{'), Some(b',')) => {
                        self.at += 1;
                        self.key()?;
                        break;
                    }
                    (Some(b'['), Some(b',')) => {
                        self.at += 1;
                        break;
                    }
                    (Some(b'{'), _) => return Err(self.unexpected("after object key:value pair")),
                    _ => return Err(self.unexpected("after array element")),
                }
            }
        }
    }

    /// A value, or the beginning of one: `open` then has its bracket, and its first value comes next.
    fn value(&mut self, open: &mut Vec<u8>) -> Result<(), String> {
        loop {
            self.space();
            let first = self.peek();
            match first {
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    self.space();
                    open.push(bracket);
                    match (bracket, self.peek()) {
                        (b'{', Some(b'}')) | (b'[', Some(b']')) => return Ok(()),
                        (b'{', _) => self.key()?,
                        _ => {}
                    }
                }
                Some(b'"') => return self.string(),
                Some(b't') => return self.literal("true"),
                Some(b'f') => return self.literal("false"),
                Some(b'n') => return self.literal("null"),
                Some(b'-' | b'0'..=b'9') => return self.number(),
                _ => return Err(self.unexpected("looking for beginning of value")),
            }
        }
    }

    fn key(&mut self) -> Result<(), String> {
        self.space();
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("looking for beginning of object key string"));
        }
        self.string()?;
        self.space();
        self.take(b':', "after object key")
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                None | Some(..0x20) => return Err(self.unexpected("in string literal")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        match self.peek() {
            Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.unexpected("in \\u hexadecimal character escape"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.unexpected("in string escape code")),
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        self.at += 1;
        for expected in word.bytes().skip(1) {
            self.take(expected, &format!("in literal {word} (expecting {})", quoted(expected)))?;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self, place: &str) -> Result<(), String> {
        let is_digit = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_digit());
        if !is_digit(self.peek()) {
            return Err(self.unexpected(place));
        }
        while is_digit(self.peek()) {
            self.at += 1;
        }
        Ok(())
    }

    fn take(&mut self, expected: u8, place: &str) -> Result<(), String> {
        if self.peek() != Some(expected) {
            return Err(self.unexpected(place));
        }
        self.at += 1;
        Ok(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn unexpected(&self, place: &str) -> String {
        match self.peek() {
            None => "unexpected end of JSON input".to_owned(),
            Some(byte) => format!("invalid character {} {place}", quoted(byte)),
        }
    }
}

/// A byte as Go quotes it: each is taken for a character of its own.
fn quoted(byte: u8) -> String {
    match char::from(byte) {
        '\'' => r"'\''".to_owned(),
        '\u{7}' => r"'\a'".to_owned(),
        '\u{8}' => r"'\b'".to_owned(),
        '\u{b}' => r"'\v'".to_owned(),
        '\u{c}' => r"'\f'".to_owned(),
        plain @ ('\n' | '\r' | '\t' | '\\') => format!("'{}'", plain.escape_default()),
        control if control.is_ascii_control() => format!(r"'\x{byte:02x}'"),
        unseen @ ('\u{80}'..='\u{a0}' | '\u{ad}') => format!(r"'\u{:04x}'", u32::from(unseen)),
        plain => format!("'{plain}'"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_is_wrong_is_told_as_go_tells_it() {
        for (text, expected) in [
            ("", "unexpected end of JSON input"),
            ("{\"a\": [1, ", "unexpected end of JSON input"),
            ("\"a", "unexpected end of JSON input"),
            ("-", "unexpected end of JSON input"),
            (
                "{not json",
                "invalid character 'n' looking for beginning of object key string",
            ),
            (
                "{\"a\":1,}",
                "invalid character '}' looking for beginning of object key string",
            ),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            (
                "{\"a\":1 \"b\":2}",
                "invalid character '\"' after object key:value pair",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{} {}", "invalid character '{' after top-level value"),
            ("01", "invalid character '1' after top-level value"),
            ("apiVersion: v1", "invalid character 'a' looking for beginning of value"),
            ("tru3", "invalid character '3' in literal true (expecting 'e')"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("\"\\q\"", "invalid character 'q' in string escape code"),
            (
                "\"\\u12x4\"",
                "invalid character 'x' in \\u hexadecimal character escape",
            ),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("'a'", "invalid character '\\'' looking for beginning of value"),
            ("\u{1}", "invalid character '\\x01' looking for beginning of value"),
            ("ä", "invalid character 'Ã' looking for beginning of value"),
        ] {
            assert_eq!(complaint(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
        assert!(complaint(&vec![b'['; 1 << 20]).is_some(), "depth costs no stack");
    }

    proptest! {
        /// It complains of exactly what the parser refuses too.
        #[test]
        fn it_agrees_with_the_parser(text in "[\\[\\]{}:, \"a0-2.e-]{0,12}|[ -~]{0,8}") {
            let parsed = serde_json::from_str::<Value>(&text);
            // The parser also refuses numbers that are too large to be kept, which are well formed.
            prop_assume!(!parsed.as_ref().is_err_and(|error| error.to_string().contains("out of range")));
            prop_assert_eq!(complaint(text.as_bytes()).is_none(), parsed.is_ok(), "{}", text);
        }
    }
}
