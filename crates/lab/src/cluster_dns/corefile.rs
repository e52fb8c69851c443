//! The Corefile's syntax: server blocks, their directives, and the blocks of those. Pure.
//!
//! ```text
//! zone[:port] [zone[:port] …] {
//!     directive [argument …] [{
//!         option [argument …]
//!     }]
//! }
//! ```

/// One server block, not yet understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) keys: Vec<String>,
    pub(super) directives: Vec<Directive>,
    pub(super) line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    /// Each a line of words.
    pub(super) options: Vec<Vec<String>>,
    pub(super) line: usize,
}

/// Why a Corefile cannot be used, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Corefile line {line}: {reason}")]
pub(super) struct CorefileError {
    pub(super) line: usize,
    pub(super) reason: String,
}

impl CorefileError {
    pub(super) fn new(line: usize, reason: impl Into<String>) -> Self {
        Self {
            line,
            reason: reason.into(),
        }
    }
}

/// Reads the blocks of a Corefile.
pub(super) fn parse(text: &str) -> Result<Vec<Block>, CorefileError> {
    let lines = lines(text)?;
    let mut lines = lines.into_iter();
    let mut blocks: Vec<Block> = Vec::new();
    while let Some((line, mut words)) = lines.next() {
        if words.pop().as_deref() != Some("{") || words.is_empty() {
            return Err(CorefileError::new(line, "expected a server block: zones, then {"));
        }
        let directives = directives(line, &mut lines)?;
        let keys = words
            .iter()
            .flat_map(|word| word.split(','))
            .filter(|key| !key.is_empty())
            .map(str::to_owned);
        blocks.push(Block {
            keys: keys.collect(),
            directives,
            line,
        });
    }
    Ok(blocks)
}

type Lines = std::vec::IntoIter<(usize, Vec<String>)>;

fn directives(opened: usize, lines: &mut Lines) -> Result<Vec<Directive>, CorefileError> {
    let mut directives = Vec::new();
    while let Some((line, mut words)) = lines.next() {
        if words == ["}"] {
            return Ok(directives);
        }
        let has_block = words.len() > 1 && words.last().is_some_and(|word| word == "{");
        if has_block {
            words.pop();
        }
        let mut words = words.into_iter();
        directives.push(Directive {
            name: words.next().expect("a line has at least one word"),
            arguments: words.collect(),
            options: if has_block { options(line, lines)? } else { Vec::new() },
            line,
        });
    }
    Err(CorefileError::new(
        opened,
        "the server block that begins here has no end: a } is missing",
    ))
}

fn options(opened: usize, lines: &mut Lines) -> Result<Vec<Vec<String>>, CorefileError> {
    let mut options = Vec::new();
    for (line, words) in lines {
        if words == ["}"] {
            return Ok(options);
        }
        if words.iter().any(|word| word == "{" || word == "}") {
            return Err(CorefileError::new(line, "an option cannot have a block of its own"));
        }
        options.push(words);
    }
    Err(CorefileError::new(
        opened,
        "the block that begins here has no end: a } is missing",
    ))
}

/// The words of every line that has any. Quotes hold words together, and # begins a comment.
fn lines(text: &str) -> Result<Vec<(usize, Vec<String>)>, CorefileError> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words = words(line).ok_or_else(|| CorefileError::new(index + 1, "a quoted word has no end"))?;
        if !words.is_empty() {
            lines.push((index + 1, words));
        }
    }
    Ok(lines)
}

fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.split_once('"')?
        } else {
            rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()))
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_directives_and_options() {
        let text =
            "a.example:53, b.example { # two\n  log\n  cache 30 {\n    success 9984 5\n  }\n  errors\n}\n\n. {\n}\n";
        let blocks = parse(text).unwrap();
        assert_eq!(blocks[0].keys, ["a.example:53", "b.example"]);
        let names: Vec<&str> = blocks[0]
            .directives
            .iter()
            .map(|directive| directive.name.as_str())
            .collect();
        assert_eq!(names, ["log", "cache", "errors"]);
        assert_eq!(blocks[0].directives[1].arguments, ["30"]);
        assert_eq!(blocks[0].directives[1].options, [["success", "9984", "5"]]);
        assert_eq!((blocks[1].keys[0].as_str(), blocks[1].line), (".", 9));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, line) in [
            ("log\n", 1),
            (". {\n log\n", 1),
            (". {\n cache {\n x\n", 2),
            ("{\n}\n", 1),
            (". {\n a \"b\n}", 2),
        ] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([a-z.:#\"{}]{0,4}[ \n]{0,2}){0,40}") {
            let _ = parse(&text);
        }
    }
}
