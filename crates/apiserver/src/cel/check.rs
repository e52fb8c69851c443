//! What can be said about an expression before it runs: names that do not exist, operators that cannot fit.
//!
//! The schema gives the variables their kinds, and kinds flow through selections, literals and operators. Where a kind is not
//! known it is `dyn`, and nothing is said. So everything that is refused here is wrong; not everything wrong is refused here,
//! and what slips through fails when it is evaluated.

use cel::{
    ParseErrors, Program,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo},
};

use super::library;
use crate::schema::{ANY, Schema, Type};

/// What is known about a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Dyn,
    Scalar(&'static str),
    List(Box<Shape>),
    Map(Box<Shape>),
    /// An object with these fields, and of a whole resource the name and kind besides.
    Object {
        fields: Vec<(String, Shape)>,
    },
}

impl Shape {
    /// The shape of what a schema describes.
    pub(crate) fn of(schema: &Schema, is_resource: bool) -> Self {
        let format = schema.checks.as_ref().and_then(|checks| checks.format.as_deref());
        match schema.kind {
            Type::Any | Type::IntOrString => Self::Dyn,
            Type::String => Self::Scalar(match format {
                Some("byte") => "bytes",
                Some("date" | "date-time") => "timestamp",
                Some("duration") => "duration",
                _ => "string",
            }),
            Type::Integer => Self::Scalar("int"),
            Type::Number => Self::Scalar("double"),
            Type::Boolean => Self::Scalar("bool"),
            Type::Array => Self::List(Box::new(Self::of(schema.element(), false))),
            Type::Object if schema.additional.is_some() => {
                let values = schema.additional.as_deref().unwrap_or(&ANY);
                Self::Map(Box::new(Self::of(values, values.embedded)))
            }
            Type::Object if schema.preserve_unknown && schema.properties.is_empty() && !is_resource => Self::Dyn,
            Type::Object => {
                let declared = schema
                    .properties
                    .iter()
                    .filter(|(name, _)| !(is_resource && RESOURCE.contains(&name.as_str())));
                let mut fields: Vec<(String, Self)> = declared
                    .map(|(name, field)| (super::value::escape(name), Self::of(field, field.embedded)))
                    .collect();
                if is_resource {
                    let text = |name: &str| (name.to_owned(), Self::Scalar("string"));
                    let metadata = Self::Object {
                        fields: vec![text("name"), text("generateName")],
                    };
                    fields.extend([text("apiVersion"), text("kind"), ("metadata".to_owned(), metadata)]);
                }
                Self::Object { fields }
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Dyn => "dyn".into(),
            Self::Scalar(name) => (*name).into(),
            Self::List(item) => format!("list({})", item.name()),
            Self::Map(item) => format!("map(string, {})", item.name()),
            Self::Object { .. } => "object".into(),
        }
    }

    /// Whether two values can be compared for equality.
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dyn, _) | (_, Self::Dyn) => true,
            (Self::Scalar(one), Self::Scalar(two)) => one == two,
            (Self::List(one), Self::List(two)) | (Self::Map(one), Self::Map(two)) => one.meets(two),
            (Self::Object { .. }, Self::Object { .. } | Self::Map(_)) | (Self::Map(_), Self::Object { .. }) => true,
            (other, Self::Scalar("null")) | (Self::Scalar("null"), other) => !matches!(other, Self::Scalar(_)),
            _ => false,
        }
    }
}

/// The report on text that cannot be parsed.
pub(super) fn syntax(source: &str, errors: &ParseErrors) -> String {
    let reports = errors.errors.iter().map(|error| {
        let (line, column) = (error.pos.0.max(1).unsigned_abs(), error.pos.1.max(1).unsigned_abs());
        report(source, line, column, &format!("Syntax error: {}", error.msg))
    });
    format!("compilation failed: {}", reports.collect::<Vec<_>>().join("\n"))
}

/// Checks all names and operators of an expression.
pub(super) fn names(source: &str, program: &Program, variables: &[(&str, Shape)]) -> Result<(), String> {
    let mut check = Check {
        source,
        places: program.source_info(),
        scope: variables
            .iter()
            .map(|(name, shape)| ((*name).to_owned(), shape.clone()))
            .collect(),
        reports: Vec::new(),
    };
    check.shape(program.expression());
    if check.reports.is_empty() {
        Ok(())
    } else {
        Err(format!("compilation failed: {}", check.reports.join("\n")))
    }
}

struct Check<'a> {
    source: &'a str,
    places: &'a SourceInfo,
    scope: Vec<(String, Shape)>,
    reports: Vec<String>,
}

impl Check<'_> {
    fn shape(&mut self, node: &IdedExpr) -> Shape {
        match &node.expr {
            Expr::Unspecified => Shape::Dyn,
            Expr::Ident(name) => self.variable(node, name),
            Expr::Literal(literal) => literal_shape(literal),
            Expr::Select(select) => self.field(node, select),
            Expr::Call(call) => self.call(node, call),
            Expr::List(list) => {
                let items: Vec<Shape> = list.elements.iter().map(|item| self.shape(item)).collect();
                Shape::List(Box::new(common(items)))
            }
            Expr::Map(map) => {
                let mut values = Vec::new();
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.shape(&entry.key);
                        values.push(self.shape(&entry.value));
                    }
                }
                Shape::Map(Box::new(common(values)))
            }
            Expr::Struct(one) => {
                self.undeclared(node, &one.type_name);
                Shape::Dyn
            }
            Expr::Comprehension(each) => self.each(each),
        }
    }

    fn variable(&mut self, node: &IdedExpr, name: &str) -> Shape {
        let bare = name.trim_start_matches('.');
        if let Some((_, shape)) = self.scope.iter().rev().find(|(known, _)| known == bare) {
            return shape.clone();
        }
        if !bare.starts_with('@') && !library::TYPES.contains(&bare) {
            self.undeclared(node, bare);
        }
        Shape::Dyn
    }

    fn field(&mut self, node: &IdedExpr, select: &SelectExpr) -> Shape {
        match self.shape(&select.operand) {
            Shape::Map(values) => *values,
            Shape::Object { fields } => match fields.into_iter().find(|(name, _)| *name == select.field) {
                Some((_, shape)) => shape,
                None => {
                    self.report(node, &format!("undefined field '{}'", select.field));
                    Shape::Dyn
                }
            },
            Shape::Dyn => Shape::Dyn,
            other => {
                self.report(
                    node,
                    &format!("type '{}' does not support field selection", other.name()),
                );
                Shape::Dyn
            }
        }
    }

    fn each(&mut self, each: &ComprehensionExpr) -> Shape {
        let item = match self.shape(&each.iter_range) {
            Shape::List(item) => *item,
            Shape::Map(_) => Shape::Scalar("string"),
            _ => Shape::Dyn,
        };
        let start = self.shape(&each.accu_init);
        let depth = self.scope.len();
        // Lists that are built up start empty, so only a scalar tells the kind of the whole.
        let start = if matches!(start, Shape::Scalar(_)) {
            start
        } else {
            Shape::Dyn
        };
        let (first, second) = match &each.iter_var2 {
            Some(_) => (Shape::Dyn, Shape::Dyn),
            None => (item, Shape::Dyn),
        };
        self.scope.push((each.iter_var.clone(), first));
        self.scope.extend(each.iter_var2.clone().map(|name| (name, second)));
        self.scope.push((each.accu_var.clone(), start));
        self.shape(&each.loop_cond);
        self.shape(&each.loop_step);
        let result = self.shape(&each.result);
        self.scope.truncate(depth);
        result
    }

    fn call(&mut self, node: &IdedExpr, call: &CallExpr) -> Shape {
        if let Some(name) = call
            .target
            .as_ref()
            .and_then(|target| qualified(target, &call.func_name))
            && library::is_function(&name)
        {
            call.args.iter().for_each(|arg| {
                self.shape(arg);
            });
            return Shape::Dyn;
        }
        let target = call.target.as_ref().map(|target| self.shape(target));
        let args: Vec<Shape> = call.args.iter().map(|arg| self.shape(arg)).collect();
        if target.is_none() && is_operator(&call.func_name) {
            return self.operator(node, &call.func_name, &args);
        }
        if !library::is_function(&call.func_name) {
            self.undeclared(node, &call.func_name);
        }
        library::result(&call.func_name).map_or(Shape::Dyn, Shape::Scalar)
    }

    fn operator(&mut self, node: &IdedExpr, name: &str, args: &[Shape]) -> Shape {
        let bool = Shape::Scalar("bool");
        let fits = match (name, args) {
            ("_==_" | "_!=_", [left, right]) => left.meets(right),
            ("_&&_" | "_||_", [left, right]) => left.meets(&bool) && right.meets(&bool),
            ("!_", [one]) => one.meets(&bool),
            ("_<_" | "_<=_" | "_>_" | "_>=_", [left, right]) => {
                is_ordered(left) && is_ordered(right) && comparable(left, right)
            }
            ("_+_", [left, right]) => adds(left, right),
            ("_-_", [left, right]) => numbers(left, right) || times(left, right),
            ("_*_" | "_/_" | "_%_", [left, right]) => numbers(left, right),
            ("_?_:_", [condition, _, _]) => condition.meets(&bool),
            ("@in" | "_in_", [_, within]) => !matches!(within, Shape::Scalar(_)),
            _ => true,
        };
        if !fits {
            let names: Vec<String> = args.iter().map(Shape::name).collect();
            let text = format!(
                "found no matching overload for '{name}' applied to '({})'",
                names.join(", ")
            );
            self.report(node, &text);
        }
        match (name, args) {
            ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [left, right]) if left == right => left.clone(),
            ("_?_:_", [_, yes, no]) if yes == no => yes.clone(),
            ("_[_]", [Shape::List(item) | Shape::Map(item), _]) => (**item).clone(),
            ("-_", [one]) => one.clone(),
            ("_==_" | "_!=_" | "_&&_" | "_||_" | "!_" | "_<_" | "_<=_" | "_>_" | "_>=_" | "@in" | "_in_", _) => bool,
            _ => Shape::Dyn,
        }
    }

    fn undeclared(&mut self, node: &IdedExpr, name: &str) {
        self.report(node, &format!("undeclared reference to '{name}' (in container '')"));
    }

    fn report(&mut self, node: &IdedExpr, what: &str) {
        let offset = self.places.offset_for(node.id).map_or(0, |(start, _)| start as usize);
        let before = self.source.get(..offset).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        self.reports.push(report(self.source, line, column, what));
    }
}

/// One error with the line that it is in, and a pointer below.
fn report(source: &str, line: usize, column: usize, what: &str) -> String {
    let text = source.lines().nth(line - 1).unwrap_or_default();
    format!(
        "ERROR: <input>:{line}:{column}: {what}\n | {text}\n | {}^",
        ".".repeat(column - 1)
    )
}

/// `math.greatest` of a call on `math`, if the target is a plain name.
fn qualified(target: &IdedExpr, function: &str) -> Option<String> {
    match &target.expr {
        Expr::Ident(name) => Some(format!("{name}.{function}")),
        _ => None,
    }
}

fn literal_shape(literal: &LiteralValue) -> Shape {
    Shape::Scalar(match literal {
        LiteralValue::Boolean(_) => "bool",
        LiteralValue::Bytes(_) => "bytes",
        LiteralValue::Double(_) => "double",
        LiteralValue::Int(_) => "int",
        LiteralValue::Null => "null",
        LiteralValue::String(_) => "string",
        LiteralValue::UInt(_) => "uint",
    })
}

fn common(shapes: Vec<Shape>) -> Shape {
    let mut shapes = shapes.into_iter();
    let first = shapes.next().unwrap_or(Shape::Dyn);
    if shapes.all(|shape| shape == first) {
        first
    } else {
        Shape::Dyn
    }
}

fn is_operator(name: &str) -> bool {
    name.starts_with(['_', '@', '!', '-'])
}

fn is_ordered(shape: &Shape) -> bool {
    matches!(shape, Shape::Dyn) || matches!(shape, Shape::Scalar(name) if *name != "null")
}

/// Numbers of different kinds can be ordered, though not added.
fn comparable(left: &Shape, right: &Shape) -> bool {
    let number = |shape: &Shape| matches!(shape, Shape::Scalar("int" | "uint" | "double"));
    left.meets(right) || (number(left) && number(right))
}

fn numbers(left: &Shape, right: &Shape) -> bool {
    let number = |shape: &Shape| matches!(shape, Shape::Dyn | Shape::Scalar("int" | "uint" | "double"));
    number(left) && number(right) && left.meets(right)
}

fn times(left: &Shape, right: &Shape) -> bool {
    let time = |shape: &Shape| matches!(shape, Shape::Dyn | Shape::Scalar("timestamp" | "duration"));
    time(left) && time(right)
}

fn adds(left: &Shape, right: &Shape) -> bool {
    let joined = |shape: &Shape| matches!(shape, Shape::Dyn | Shape::List(_) | Shape::Scalar("string" | "bytes"));
    numbers(left, right) || times(left, right) || (joined(left) && joined(right) && left.meets(right))
}

/// What every resource has, whatever its schema says.
const RESOURCE: [&str; 3] = ["apiVersion", "kind", "metadata"];
