//! The grammar of label selectors: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`. Errors are worded as the API words them.

use super::labels::Requirement;
use crate::{field::FieldError, kinds::names};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A name, a value, or one of the words `in` and `notin`.
    Word(String),
    /// One of `= == != ! ( ) , < >`.
    Symbol(&'static str),
    /// Symbols that mean nothing together.
    Nonsense(String),
    End,
}

impl Token {
    /// As an error shows it.
    fn shown(&self) -> &str {
        match self {
            Self::Word(text) | Self::Nonsense(text) => text,
            Self::Symbol(symbol) => symbol,
            Self::End => "",
        }
    }
}

pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser {
        tokens: tokens(text),
        at: 0,
    };
    let mut all = Vec::new();
    loop {
        match parser.peek() {
            Token::End => return Ok(all),
            Token::Word(_) | Token::Symbol("!") => {}
            other => {
                let found = other.shown();
                return Err(format!("found '{found}', expected: !, identifier, or 'end of string'"));
            }
        }
        let one = parser.requirement();
        all.push(one.map_err(|why| format!("unable to parse requirement: {why}"))?);
        match parser.next() {
            Token::End => return Ok(all),
            Token::Symbol(",") => {
                if !matches!(parser.peek(), Token::Word(_) | Token::Symbol("!")) {
                    let found = parser.peek().shown();
                    return Err(format!("found '{found}', expected: identifier after ','"));
                }
            }
            other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.shown())),
        }
    }
}

struct Parser {
    /// The last one is [`Token::End`], which is never passed.
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let is_missing = *self.peek() == Token::Symbol("!");
        if is_missing {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other => return Err(format!("found '{}', expected: identifier", other.shown())),
        };
        let wrong = names::wrong_qualified(&key);
        if !wrong.is_empty() {
            return Err(FieldError::invalid("<nil>", key, wrong.join("; ")).to_string());
        }
        if is_missing {
            return Ok(Requirement::Missing(key));
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(Requirement::Exists(key));
        }
        let operator = self.next();
        match operator.shown() {
            "in" | "notin" => {
                let values = self.values()?;
                check(&key, &values)?;
                Ok(match operator.shown() {
                    "in" => Requirement::In(key, values),
                    _ => Requirement::NotIn(key, values),
                })
            }
            "=" | "==" | "!=" => {
                let values = vec![self.value()?];
                check(&key, &values)?;
                Ok(match operator.shown() {
                    "!=" => Requirement::NotIn(key, values),
                    _ => Requirement::In(key, values),
                })
            }
            ">" | "<" => {
                let value = self.value()?;
                let Ok(bound) = value.parse() else {
                    let why = "for 'Gt', 'Lt' operators, the value must be an integer";
                    return Err(FieldError::invalid("values[0]", value, why).to_string());
                };
                Ok(match operator.shown() {
                    ">" => Requirement::Greater(key, bound),
                    _ => Requirement::Less(key, bound),
                })
            }
            other => Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    /// The one value of a comparison, which may be left out for the empty one.
    fn value(&mut self) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(value) => Ok(value),
            other => Err(format!("found '{}', expected: identifier", other.shown())),
        }
    }

    /// `(a,b)`. What is left out around a comma is the empty value.
    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Token::Symbol("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.shown())),
        }
        if *self.peek() == Token::Symbol(")") {
            self.next();
            return Ok(Vec::new());
        }
        if !matches!(self.peek(), Token::Word(_) | Token::Symbol(",")) {
            let found = self.peek().shown();
            return Err(format!("found '{found}', expected: ',', ')' or identifier"));
        }
        let mut values = Vec::new();
        loop {
            match self.peek() {
                Token::Word(_) => values.push(self.next().shown().to_owned()),
                Token::Symbol("," | ")") => values.push(String::new()),
                other => return Err(format!("found '{}', expected: ',', or identifier", other.shown())),
            }
            match self.next() {
                Token::Symbol(",") => {}
                Token::Symbol(")") => return Ok(values),
                other => return Err(format!("found '{}', expected: ',' or ')'", other.shown())),
            }
        }
    }
}

fn check(key: &str, values: &[String]) -> Result<(), String> {
    if values.is_empty() {
        let why = "for 'in', 'notin' operators, values set can't be empty";
        return Err(FieldError::invalid("values", values.to_vec(), why).to_string());
    }
    for (n, value) in values.iter().enumerate() {
        if let Some(why) = names::wrong_label_text(value) {
            return Err(FieldError::invalid(format!("values[{n}][{key}]"), value.as_str(), why).to_string());
        }
    }
    Ok(())
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = if is_symbol(first) { symbol(rest) } else { word(rest) };
        let (token, after) = rest.split_at(end);
        tokens.push(match SYMBOLS.iter().find(|symbol| **symbol == token) {
            Some(symbol) => Token::Symbol(symbol),
            None if is_symbol(first) => Token::Nonsense(format!("error expected: keyword found '{token}'")),
            None => Token::Word(token.to_owned()),
        });
        rest = after.trim_start();
    }
    tokens.push(Token::End);
    tokens
}

/// How long the longest symbol at the start is.
fn symbol(text: &str) -> usize {
    let known = SYMBOLS.iter().filter(|symbol| text.starts_with(**symbol));
    known.map(|symbol| symbol.len()).max().unwrap_or(1)
}

fn word(text: &str) -> usize {
    text.find(|c: char| is_symbol(c) || c.is_whitespace())
        .unwrap_or(text.len())
}

fn is_symbol(c: char) -> bool {
    "=!(),<>".contains(c)
}

const SYMBOLS: [&str; 9] = ["=", "==", "!=", "!", "(", ")", ",", "<", ">"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_wrong_is_told_as_the_api_tells_it() {
        for (text, expected) in [
            ("a===b", "unable to parse requirement: found '=', expected: identifier"),
            ("=b", "found '=', expected: !, identifier, or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            (
                "a in ()",
                "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
            ),
            (
                "a>b",
                "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an \
                 integer",
            ),
        ] {
            assert_eq!(requirements(text).unwrap_err(), expected, "{text}");
        }
        let wrong = requirements("a=-x").unwrap_err();
        assert!(
            wrong
                .starts_with("unable to parse requirement: values[0][a]: Invalid value: \"-x\": a valid label must be"),
            "{wrong}"
        );
        let wrong = requirements("-a=x").unwrap_err();
        assert!(
            wrong.starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of"),
            "{wrong}"
        );
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[a-c=!(),<> in-]{0,16}|.{0,16}") {
            let _ = requirements(&text);
        }
    }
}
