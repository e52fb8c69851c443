//! What a Corefile says of its server blocks: which zones, on which port, bound to which addresses. Reads as CoreDNS does (the
//! Caddyfile's tokens, quotes and comments), and refuses what it cannot read with certainty.

use super::CorefileError;

/// What concerns us in a Corefile.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The first server block of the root zone.
    pub root: Option<Root>,
    /// The zones of all server blocks, with their lines.
    pub zones: Vec<(String, usize)>,
    /// Arguments of the imports between the server blocks.
    pub imports: Vec<String>,
}

/// Where the root zone is answered; any zone beside it must be answered at the same place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Root {
    /// The port, where the block names one.
    pub port: Option<String>,
    /// Arguments of its `bind` lines.
    pub bind: Vec<String>,
}

/// Reads the outline.
///
/// # Errors
/// Where braces or quotes do not pair up, a server block has no braces, or the root zone's `bind` has options of its own.
pub fn outline(corefile: &str) -> Result<Outline, CorefileError> {
    let mut outline = Outline::default();
    let mut keys: Vec<Token> = Vec::new();
    let mut lines = lines(corefile)?.into_iter();
    while let Some(line) = lines.next() {
        let number = line[0].line;
        let is_open = line.last().is_some_and(|token| token.is("{"));
        let words = if is_open { &line[..line.len() - 1] } else { &line[..] };
        if let Some(brace) = words.iter().find(|token| token.is("{") || token.is("}")) {
            return Err(CorefileError::Unbalanced(brace.line));
        }
        if keys.is_empty() && words.first().is_some_and(|word| word.is("import")) && !is_open {
            outline.imports.extend(words[1..].iter().map(|word| word.text.clone()));
            continue;
        }
        keys.extend(words.iter().cloned());
        if is_open {
            let bind = block(&mut lines, number)?;
            outline.take(&std::mem::take(&mut keys), bind)?;
        } else if !keys.last().is_some_and(|key| key.text.ends_with(',')) {
            return Err(CorefileError::Braceless(number));
        }
    }
    match keys.first() {
        Some(key) => Err(CorefileError::Braceless(key.line)),
        None => Ok(outline),
    }
}

impl Outline {
    fn take(&mut self, keys: &[Token], bind: Result<Vec<String>, CorefileError>) -> Result<(), CorefileError> {
        // A snippet: `(name) {`.
        if let [key] = keys
            && key.text.starts_with('(')
            && key.text.ends_with(')')
        {
            return Ok(());
        }
        let mut bind = Some(bind);
        for key in keys {
            let (zone, port) = zone_and_port(&key.text);
            if zone == "."
                && self.root.is_none()
                && let Some(bind) = bind.take()
            {
                self.root = Some(Root { port, bind: bind? });
            }
            self.zones.push((zone, key.line));
        }
        Ok(())
    }
}

/// Reads to the end of a block. The inner result is that of its `bind` lines, which matters for the root zone only.
fn block(
    lines: &mut impl Iterator<Item = Vec<Token>>,
    opened: usize,
) -> Result<Result<Vec<String>, CorefileError>, CorefileError> {
    let mut depth = 1;
    let mut bind = Ok(Vec::new());
    for line in lines {
        if depth == 1 && line[0].is("bind") {
            let is_plain = !line.iter().any(|token| token.is("{") || token.is("}"));
            match &mut bind {
                Ok(all) if is_plain => all.extend(line[1..].iter().map(|token| token.text.clone())),
                Ok(_) => bind = Err(CorefileError::Bind(line[0].line)),
                Err(_) => {}
            }
        }
        for (index, token) in line.iter().enumerate() {
            if token.is("{") {
                depth += 1;
            } else if token.is("}") {
                depth -= 1;
                if depth == 0 && index + 1 < line.len() {
                    return Err(CorefileError::Unbalanced(token.line));
                }
            }
        }
        if depth == 0 {
            return Ok(bind);
        }
    }
    Err(CorefileError::Unbalanced(opened))
}

/// `dns://.:53,` is zone `.` on port 53.
fn zone_and_port(key: &str) -> (String, Option<String>) {
    let key = key.trim_end_matches(',');
    let key = key.split_once("://").map_or(key, |(_, zone)| zone);
    let (zone, port) = match key.rsplit_once(':') {
        Some((zone, port)) => (zone, Some(port.to_owned())),
        None => (key, None),
    };
    let zone = if zone == "." { zone } else { zone.trim_end_matches('.') };
    (zone.to_ascii_lowercase(), port)
}

#[derive(Debug, Clone)]
struct Token {
    text: String,
    line: usize,
    is_quoted: bool,
}

impl Token {
    /// Whether it is this word, written without quotes.
    fn is(&self, word: &str) -> bool {
        !self.is_quoted && self.text == word
    }
}

/// The tokens of each line that has some. A quoted token may go over lines, and counts for the line where it begins.
fn lines(text: &str) -> Result<Vec<Vec<Token>>, CorefileError> {
    let mut lines: Vec<Vec<Token>> = Vec::new();
    let mut line = 1;
    let mut letters = text.chars().peekable();
    let mut is_new_line = true;
    while let Some(letter) = letters.next() {
        let begun = line;
        let mut token = Token {
            text: String::new(),
            line,
            is_quoted: letter == '"',
        };
        match letter {
            '\n' => {
                line += 1;
                is_new_line = true;
                continue;
            }
            _ if letter.is_whitespace() => continue,
            '#' => {
                while letters.next_if(|&letter| letter != '\n').is_some() {}
                continue;
            }
            '"' => loop {
                match letters.next().ok_or(CorefileError::Unquoted(begun))? {
                    '"' => break,
                    '\\' => {
                        let escaped = letters.next().ok_or(CorefileError::Unquoted(begun))?;
                        if escaped != '"' {
                            token.text.push('\\');
                        }
                        token.text.push(escaped);
                        line += usize::from(escaped == '\n');
                    }
                    letter => {
                        token.text.push(letter);
                        line += usize::from(letter == '\n');
                    }
                }
            },
            _ => {
                token.text.push(letter);
                while let Some(letter) = letters.next_if(|letter| !letter.is_whitespace()) {
                    token.text.push(letter);
                }
            }
        }
        match lines.last_mut() {
            Some(last) if !is_new_line => last.push(token),
            _ => lines.push(vec![token]),
        }
        is_new_line = false;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(corefile: &str) -> Vec<String> {
        outline(corefile)
            .unwrap()
            .zones
            .into_iter()
            .map(|(zone, _)| zone)
            .collect()
    }

    #[test]
    fn quotes_and_comments_hide_braces() {
        assert_eq!(
            zones(". {\n log \" } \\\" { \" # }\n}\nb.example {\n}\n"),
            [".", "b.example"]
        );
        assert_eq!(zones(". {\n rewrite a#b {\n }\n}\n"), ["."]);
        assert_eq!(outline(". {\n log \"\n}\n"), Err(CorefileError::Unquoted(2)));
    }

    #[test]
    fn keys_may_go_over_lines() {
        assert_eq!(
            zones("a.example,\nB.Example. . {\n}\n"),
            ["a.example", "b.example", "."]
        );
    }

    #[test]
    fn a_single_block_may_lack_braces_and_then_nothing_fits_beside_it() {
        assert_eq!(outline(".:53\nforward . 1.1.1.1\n"), Err(CorefileError::Braceless(1)));
        assert_eq!(outline("a.example,"), Err(CorefileError::Braceless(1)));
    }

    #[test]
    fn binds_are_those_of_the_root_zone() {
        let read = outline(
            "a.example {\n bind 9.9.9.9\n}\n.:5353 {\n bind 10.0.0.1 fd00::1\n hosts {\n  bind x\n }\n bind 10.0.0.2\n}\n",
        );
        let root = Root {
            port: Some("5353".to_owned()),
            bind: ["10.0.0.1", "fd00::1", "10.0.0.2"].map(String::from).into(),
        };
        assert_eq!(read.unwrap().root, Some(root));
        let with_options = ".:53 {\n bind eth0 {\n  except 127.0.0.1\n }\n}\n";
        assert_eq!(outline(with_options), Err(CorefileError::Bind(2)));
        assert!(outline(&with_options.replace(".:53", "a.example")).is_ok());
    }

    #[test]
    fn imports_between_blocks_are_seen() {
        let read = outline(".:53 {\n import /a/*.override\n}\nimport /b/*.server\n").unwrap();
        assert_eq!(read.imports, ["/b/*.server"]);
    }
}
