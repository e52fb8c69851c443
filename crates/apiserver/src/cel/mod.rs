//! CEL, as Kubernetes speaks it: rules of custom resources and admission policies.
//!
//! The language itself is the `cel` crate's. Three things are added. [`library`] has the functions of Kubernetes (addresses,
//! quantities, URLs, regular expressions, lists). [`value`] turns an object into CEL values as its schema types them.
//! [`budget`] bounds the work: every loop of an expression pays for its elements before it runs, and stops the evaluation when
//! nothing is left.
//!
//! ```text
//!  rule text ── parse ──▶ expression ── check: does every name exist? ──▶ meter its loops ──▶ Program
//!  object + schema ── value ──▶ variables ── evaluate within a Budget ──▶ true, false, text, or why not
//! ```
//!
//! Texts of errors are those of the reference implementation, which clients see: `no such key: x`, `index out of bounds: 3`.

use std::sync::{Arc, LazyLock};

use cel::{
    Context, Env, ExecutionError,
    common::{
        ast::IdedExpr,
        types::{CelBool, CelString},
        value::Val,
    },
};

mod budget;
mod check;
mod library;
pub(crate) mod rules;
pub(crate) mod value;

pub(crate) use budget::Budget;
pub(crate) use check::Shape;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    expression: Arc<IdedExpr>,
    names: Arc<[String]>,
}

/// A CEL value of our own making.
pub(crate) type Object = Box<dyn Val>;

/// What an expression is evaluated with.
#[derive(Debug)]
pub(crate) struct Variables {
    context: Vec<(String, Object)>,
}

impl Program {
    /// Parses an expression and checks that every name in it exists. The error is the compiler's report.
    pub(crate) fn compile(source: &str, variables: &[(&str, Shape)]) -> Result<Self, String> {
        let program = ENV.compile(source).map_err(|errors| check::syntax(source, &errors))?;
        let mut expression = program.expression().clone();
        check::names(source, &program, variables)?;
        let names = program
            .references()
            .variables()
            .into_iter()
            .map(str::to_owned)
            .collect();
        budget::meter(&mut expression);
        Ok(Self {
            expression: Arc::new(expression),
            names,
        })
    }

    /// Whether the expression reads a variable.
    pub(crate) fn mentions(&self, variable: &str) -> bool {
        self.names.iter().any(|name| name == variable)
    }

    /// Evaluates to a truth value.
    pub(crate) fn is_true(&self, variables: &Variables, budget: &Budget) -> Result<bool, String> {
        let value = self.evaluate(variables, budget)?;
        match value.downcast_ref::<CelBool>() {
            Some(truth) => Ok(*truth.inner()),
            None => Err(format!("must evaluate to a bool, not {}", value.get_type().name())),
        }
    }

    /// Evaluates to text.
    pub(crate) fn text(&self, variables: &Variables, budget: &Budget) -> Result<String, String> {
        let value = self.evaluate(variables, budget)?;
        match value.downcast_ref::<CelString<'_>>() {
            Some(text) => Ok(text.inner().to_owned()),
            None => Err(format!("must evaluate to a string, not {}", value.get_type().name())),
        }
    }

    /// Evaluates to anything.
    pub(crate) fn evaluate(&self, variables: &Variables, budget: &Budget) -> Result<Object, String> {
        let mut context = Context::with_env(Arc::clone(&ENV));
        for (name, value) in &variables.context {
            context.add_variable_as_val(name.clone(), value.clone_as_boxed());
        }
        context.add_variable_as_val(budget::VARIABLE, Box::new(budget.clone()));
        cel::Value::resolve_val(&self.expression, &context)
            .map(cel::common::value::CowVal::into_owned)
            .map_err(|error| describe(&error))
    }
}

impl Variables {
    pub(crate) fn new() -> Self {
        Self { context: Vec::new() }
    }

    /// Binds a variable; a later one of the same name wins.
    pub(crate) fn set(&mut self, name: impl Into<String>, value: Object) {
        self.context.push((name.into(), value));
    }
}

/// An evaluation error in the reference implementation's words.
fn describe(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("no such key: {key}"),
        ExecutionError::NoSuchOverload(_)
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::ValuesNotComparable(..)
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::UnsupportedIndex(..)
        | ExecutionError::UnsupportedTargetType { .. }
        | ExecutionError::NotSupportedAsMethod { .. }
        | ExecutionError::InvalidArgumentCount { .. } => "no such overload".into(),
        ExecutionError::UndeclaredReference(name) => format!("no such attribute(s): {name}"),
        ExecutionError::IndexOutOfBounds(cel::Value::Int(index)) => format!("index out of bounds: {index}"),
        ExecutionError::DivisionByZero(_) => "division by zero".into(),
        ExecutionError::RemainderByZero(_) => "modulus by zero".into(),
        ExecutionError::Overflow(..) => "integer overflow".into(),
        ExecutionError::FunctionError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    library::extend(&mut env)
        .and_then(|()| budget::extend(&mut env))
        .expect("no function is declared twice, as the tests show");
    Arc::new(env)
});

#[cfg(test)]
mod tests;
