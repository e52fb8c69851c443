//! Objects as YAML, written as the real server writes them: fields sorted, lists not indented, quotes where they are needed only.

use serde_json::Value;

/// The document, with its final newline.
pub(crate) fn write(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => object(value, 0, &mut out),
        Value::Array(items) if !items.is_empty() => list(value, 0, &mut out),
        scalar => {
            plain(scalar, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

fn object(value: &Value, indent: usize, out: &mut String) {
    let mut fields: Vec<(&String, &Value)> = value.as_object().into_iter().flatten().collect();
    fields.sort_by_key(|(name, _)| *name);
    for (n, (name, value)) in fields.into_iter().enumerate() {
        if n > 0 {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&text(name));
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                out.push_str(&" ".repeat(indent + 2));
                object(value, indent + 2, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                out.push_str(&" ".repeat(indent));
                list(value, indent, out);
            }
            scalar => {
                out.push(' ');
                plain(scalar, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

fn list(value: &Value, indent: usize, out: &mut String) {
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        if n > 0 {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str("- ");
        match item {
            Value::Object(map) if !map.is_empty() => object(item, indent + 2, out),
            Value::Array(items) if !items.is_empty() => list(item, indent + 2, out),
            scalar => {
                plain(scalar, indent + 2, out);
                out.push('\n');
            }
        }
    }
}

fn plain(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(lines) if is_block(lines) => block(lines, indent, out),
        Value::String(string) => out.push_str(&text(string)),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        other => out.push_str(&other.to_string()),
    }
}

/// Lines that can stand as they are.
fn is_block(text: &str) -> bool {
    let legible = |c: char| c == '\n' || !(c.is_control() || c == '\u{feff}');
    let trailing = text.lines().any(|line| line.ends_with(' '));
    text.contains('\n') && text.chars().all(legible) && !trailing && !text.starts_with([' ', '\n'])
}

fn block(text: &str, indent: usize, out: &mut String) {
    let body = text.trim_end_matches('\n');
    out.push_str(match text.len() - body.len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            out.push_str(&" ".repeat(indent));
            out.push_str(line);
        }
    }
}

/// A string, quoted if it would be read as something else.
fn text(text: &str) -> String {
    if text.chars().any(|c| c.is_control() || c == '\u{feff}') || means_another_type(text) {
        return Value::String(text.to_owned()).to_string();
    }
    let first = text.chars().next().unwrap_or(' ');
    let second = text.chars().nth(1).unwrap_or(' ');
    let is_indicator = ",[]{}#&*!|>'\"%@`".contains(first) || ("-?:".contains(first) && second == ' ');
    let is_structure = text.contains(": ") || text.ends_with(':') || text.contains(" #");
    if is_indicator || is_structure || text.starts_with(' ') || text.ends_with(' ') || text.starts_with("---") {
        return format!("'{}'", text.replace('\'', "''"));
    }
    text.to_owned()
}

/// Numbers, truth values, null and times, in YAML 1.1's generous sense.
fn means_another_type(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let words = [
        "", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "=", "<<", ".inf", "-.inf", "+.inf",
        ".nan",
    ];
    if words.contains(&lower.as_str()) {
        return true;
    }
    let digits = lower.trim_start_matches(['-', '+']).replace('_', "");
    let radix = |prefix: &str, radix| {
        digits
            .strip_prefix(prefix)
            .is_some_and(|rest| u64::from_str_radix(rest, radix).is_ok())
    };
    let starts_as_number =
        digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && digits.contains(|c: char| c.is_ascii_digit());
    let is_date = text.len() >= 10
        && text.as_bytes()[4] == b'-'
        && text.bytes().take(4).all(|byte| byte.is_ascii_digit())
        && (text.parse::<jiff::civil::Date>().is_ok() || text.parse::<jiff::Timestamp>().is_ok());
    let base60 = digits.contains(':')
        && digits
            .split(':')
            .all(|part| !part.is_empty() && part.parse::<u64>().is_ok());
    (starts_as_number && digits.parse::<f64>().is_ok())
        || radix("0x", 16)
        || radix("0o", 8)
        || radix("0b", 2)
        || is_date
        || base60
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_sorted_and_quotes_are_few() {
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"b": "1", "a": "x: y", "t": "2026-01-01T00:00:00Z"},
            "metadata": {"managedFields": [{"fieldsV1": {"f:data": {".": {}}}, "time": null}], "finalizers": [], "size": 7}});
        let expected = "apiVersion: v1\ndata:\n  a: 'x: y'\n  b: \"1\"\n  t: \"2026-01-01T00:00:00Z\"\nkind: ConfigMap\nmetadata:\n  \
            finalizers: []\n  managedFields:\n  - fieldsV1:\n      f:data:\n        .: {}\n    time: null\n  size: 7\n";
        assert_eq!(write(&object), expected);
        assert_eq!(
            write(&json!({"a": "x\ny\n", "b": ["p\nq"]})),
            "a: |\n  x\n  y\nb:\n- |-\n  p\n  q\n"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            texts in prop::collection::vec("[ -~\n]{0,12}|[0-9:.+-]{1,6}|yes|null|0x1f|\\PC{0,8}", 0..6), number: i32,
        ) {
            let nested = json!([[texts.clone(), {"x": texts}], {"": number, "b": {}, "c": [], "d": null, "e": true}]);
            let object = json!({"a": nested});
            let read: Value = serde_saphyr::from_str(&write(&object)).unwrap();
            prop_assert_eq!(read, object);
        }
    }
}
