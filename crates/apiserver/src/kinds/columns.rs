//! The columns of Tables: what `kubectl get` prints.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Kind;
use crate::object::{Object as _, list_at, text_at};

mod cells;
mod jsonpath;
mod printers;

use printers::Printed;

/// One column and where its cells come from.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub name: String,
    pub kind: &'static str,
    pub format: String,
    pub description: String,
    /// 0 is always shown, 1 only with `-o wide`.
    pub priority: i64,
    cell: Cell,
}

#[derive(Clone, Debug)]
enum Cell {
    Name,
    Age,
    /// When the object was created, as a time.
    Created,
    /// How long ago a time was.
    Since(fn(&Value) -> &str),
    /// Written in Rust for a built-in kind.
    Printed(fn(&Value) -> Value),
    /// Named by a CustomResourceDefinition.
    Path {
        path: jsonpath::Path,
        is_date: bool,
    },
}

impl Column {
    fn new(name: &str, priority: i64, cell: Cell) -> Self {
        let format = if matches!(cell, Cell::Name) { "name" } else { "" };
        Self {
            name: name.into(),
            kind: "string",
            format: format.into(),
            description: name.into(),
            priority,
            cell,
        }
    }

    pub(crate) fn cell(&self, object: &Value, now: Timestamp) -> Value {
        match &self.cell {
            Cell::Name => object.name().into(),
            Cell::Age => age(object.meta_str("creationTimestamp"), now),
            Cell::Created => object.meta_str("creationTimestamp").into(),
            Cell::Since(time) => age(time(object), now),
            Cell::Printed(print) => print(object),
            Cell::Path { path, is_date } => match path.first(object) {
                Some(found) if *is_date => found.as_str().map_or(Value::Null, |text| age(text, now)),
                Some(found) if found.is_object() || found.is_array() => found.to_string().into(),
                Some(found) => found.clone(),
                None => Value::Null,
            },
        }
    }

    /// As `columnDefinitions` has it.
    pub(crate) fn definition(&self) -> Value {
        let mut map = Map::new();
        map.insert("name".into(), self.name.clone().into());
        map.insert("type".into(), self.kind.into());
        map.insert("format".into(), self.format.clone().into());
        map.insert("description".into(), self.description.clone().into());
        map.insert("priority".into(), self.priority.into());
        map.into()
    }
}

/// The columns of a built-in resource.
pub(crate) fn builtin(group: &str, plural: &str) -> Vec<Column> {
    let column = |row: &printers::Row| {
        let cell = match row.cell {
            Printed::Name => Cell::Name,
            Printed::Age => Cell::Age,
            Printed::Created => Cell::Created,
            Printed::Since(time) => Cell::Since(time),
            Printed::Cell(print) => Cell::Printed(print),
        };
        Column {
            kind: row.kind,
            ..Column::new(row.name, row.priority, cell)
        }
    };
    printers::of(group, plural).iter().map(column).collect()
}

/// The columns that a version of a CustomResourceDefinition names; without any, name and age.
pub(crate) fn custom(version: &Value) -> Vec<Column> {
    let mut columns = vec![Column::new("Name", 0, Cell::Name)];
    let named = list_at(version, &["additionalPrinterColumns"]);
    for column in named {
        let kind = match text_at(column, &["type"]) {
            "integer" => "integer",
            "number" => "number",
            "boolean" => "boolean",
            "date" => "date",
            _ => "string",
        };
        let text = text_at(column, &["jsonPath"]);
        let path = jsonpath::Path::parse(text);
        let mut made = Column::new(
            text_at(column, &["name"]),
            0,
            Cell::Path {
                path,
                is_date: kind == "date",
            },
        );
        made.kind = kind;
        made.format = text_at(column, &["format"]).to_owned();
        made.priority = column.get("priority").and_then(Value::as_i64).unwrap_or_default();
        made.description = match text_at(column, &["description"]) {
            "" => format!("Custom resource definition column (in JSONPath format): {text}"),
            written => written.to_owned(),
        };
        columns.push(made);
    }
    if named.is_empty() {
        columns.push(Column {
            kind: "date",
            ..Column::new("Age", 0, Cell::Age)
        });
    }
    columns
}

/// The cells of one row.
pub(crate) fn row(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    kind.columns.iter().map(|column| column.cell(object, now)).collect()
}

/// `3m20s`, as kubectl writes durations.
fn age(since: &str, now: Timestamp) -> Value {
    let Ok(since) = since.parse::<Timestamp>() else {
        return "<unknown>".into();
    };
    short_duration((now.as_second() - since.as_second()).max(0)).into()
}

fn short_duration(seconds: i64) -> String {
    let two = |major: i64, unit: char, minor: i64, small: char| match minor {
        0 => format!("{major}{unit}"),
        minor => format!("{major}{unit}{minor}{small}"),
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        ..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        _ => two(days / 365, 'y', days % 365, 'd'),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_are_short() {
        let shown: Vec<String> = [5, 119, 200, 240, 3600, 11_000, 90_000, 200_000]
            .map(short_duration)
            .into();
        assert_eq!(shown, ["5s", "119s", "3m20s", "4m", "60m", "3h3m", "25h", "2d7h"]);
    }

    #[test]
    fn events_show_when_they_were_seen_in_both_groups() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let old = json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "R", "message": "m\n", "count": 3,
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec"}, "source": {"component": "c", "host": "h"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:30Z"});
        let cells = |group: &str, event: &Value| -> Vec<Value> {
            builtin(group, "events")
                .iter()
                .map(|column| column.cell(event, now))
                .collect()
        };
        let expected = json!(["30s", "Normal", "R", "pod/p", "spec", "c, h", "m", "60s", 3, "e"]);
        assert_eq!(Value::from(cells("", &old)), expected);
        let new = json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "R", "note": "m", "eventTime":
            "2026-01-01T00:00:00.000000Z", "regarding": {"kind": "Pod", "name": "p"}, "reportingController": "c"});
        let expected = json!(["60s", "Normal", "R", "pod/p", "", "c", "m", "60s", 1, "e"]);
        assert_eq!(Value::from(cells("events.k8s.io", &new)), expected);
    }

    #[test]
    fn kinds_without_columns_of_their_own_tell_when_they_were_created() {
        let now = Timestamp::UNIX_EPOCH;
        let role = json!({"metadata": {"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"}});
        let columns = builtin("rbac.authorization.k8s.io", "roles");
        let cells: Vec<Value> = columns.iter().map(|column| column.cell(&role, now)).collect();
        assert_eq!(cells, [json!("r"), json!("2026-01-01T00:00:00Z")]);
        assert_eq!(columns[1].definition()["type"], "date");
    }

    #[test]
    fn custom_columns_read_their_paths() {
        let version = json!({"additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]});
        let object = json!({"metadata": {"name": "n", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"size": 7},
                            "status": {"conditions": [{"type": "X", "status": "?"}, {"type": "Ready", "status": "True"}]}});
        let now: Timestamp = "2026-01-01T00:00:09Z".parse().unwrap();
        let cells: Vec<Value> = custom(&version)
            .iter()
            .map(|column| column.cell(&object, now))
            .collect();
        assert_eq!(cells, [json!("n"), json!(7), json!("True"), json!("9s")]);
        let bare = custom(&version)[2].cell(&json!({}), now);
        assert_eq!(bare, Value::Null);
    }
}
