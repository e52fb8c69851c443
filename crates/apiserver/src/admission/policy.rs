//! Policies, compiled.

use serde_json::Value;

use super::{
    Request,
    binding::{Binding, ParamKind},
    matching::Scope,
    variables,
};
use crate::{
    cel::{Budget, Program, Variables, value},
    object::{list_at, text_at},
    store::Txn,
};

#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub scope: Scope,
    /// What cannot be evaluated counts as not met.
    fails_closed: bool,
    params: Option<ParamKind>,
    conditions: Vec<Expression>,
    variables: Vec<Expression>,
    validations: Vec<Validation>,
}

#[derive(Clone, Debug)]
struct Expression {
    name: String,
    program: Result<Program, String>,
}

#[derive(Clone, Debug)]
struct Validation {
    source: String,
    program: Result<Program, String>,
    message: String,
    message_expression: Option<Program>,
    reason: String,
}

/// One validation that was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub message: String,
    /// Empty, or one of the API's reasons.
    pub reason: String,
}

impl Policy {
    pub(super) fn read(object: &Value) -> Self {
        let spec = &object["spec"];
        let named = |field: &str| {
            let all = list_at(spec, &[field]).iter();
            all.map(|one| Expression {
                name: text_at(one, &["name"]).to_owned(),
                program: compile(text_at(one, &["expression"])),
            })
            .collect()
        };
        let params = spec.get("paramKind").filter(|kind| kind.is_object());
        Self {
            scope: Scope::read(&spec["matchConstraints"]),
            fails_closed: text_at(spec, &["failurePolicy"]) != "Ignore",
            params: params.map(|kind| ParamKind {
                api_version: text_at(kind, &["apiVersion"]).to_owned(),
                kind: text_at(kind, &["kind"]).to_owned(),
            }),
            conditions: named("matchConditions"),
            variables: named("variables"),
            validations: list_at(spec, &["validations"]).iter().map(Validation::read).collect(),
        }
    }

    /// What is not met.
    pub(super) fn examine(&self, txn: &Txn<'_>, request: &Request<'_>, binding: &Binding) -> Vec<Finding> {
        let params = match binding.params(txn, request, self.params.as_ref()) {
            Ok(params) => params,
            Err(why) => return self.failed(why),
        };
        let all = params.into_iter();
        all.flat_map(|params| self.examine_with(txn, request, params.as_deref()))
            .collect()
    }

    fn examine_with(&self, txn: &Txn<'_>, request: &Request<'_>, params: Option<&Value>) -> Vec<Finding> {
        let budget = Budget::of_object();
        let mut known = variables::bind(txn, request, params);
        for condition in &self.conditions {
            match evaluate(&condition.program, &known, &budget) {
                Ok(true) => {}
                Ok(false) => return Vec::new(),
                Err(why) => {
                    let name = &condition.name;
                    return self.failed(format!("expression 'matchConditions[{name}]' resulted in error: {why}"));
                }
            }
        }
        let broken = self.compute(&mut known, &budget);
        let mut findings = Vec::new();
        for validation in &self.validations {
            match evaluate(&validation.program, &known, &budget) {
                Ok(true) => {}
                Ok(false) => findings.push(validation.finding(&known, &budget)),
                Err(why) => {
                    let why = broken
                        .iter()
                        .find(|(name, _)| why == format!("no such key: {name}"))
                        .map_or(why.clone(), |(name, why)| {
                            format!("composited variable {name:?} fails to evaluate: {why}")
                        });
                    findings
                        .extend(self.failed(format!("expression '{}' resulted in error: {why}", validation.source)));
                }
            }
        }
        findings
    }

    /// Computes the variables in their order; later ones may use earlier ones. One that fails is only missed by who uses it.
    fn compute(&self, known: &mut Variables, budget: &Budget) -> Vec<(&str, String)> {
        let mut broken = Vec::new();
        let mut computed = Vec::new();
        for variable in &self.variables {
            let entries = computed
                .iter()
                .map(|(name, value): &(String, crate::cel::Object)| (name.clone(), value.clone_as_boxed()));
            known.set("variables", value::map(entries));
            let result = variable.program.as_ref().map_err(Clone::clone);
            match result.and_then(|program| program.evaluate(known, budget)) {
                Ok(value) => computed.push((variable.name.clone(), value)),
                Err(why) => broken.push((variable.name.as_str(), why)),
            }
        }
        known.set("variables", value::map(computed));
        broken
    }

    fn failed(&self, message: String) -> Vec<Finding> {
        let finding = Finding {
            message,
            reason: String::new(),
        };
        if self.fails_closed { vec![finding] } else { Vec::new() }
    }
}

impl Validation {
    fn read(written: &Value) -> Self {
        let text = |field: &str| text_at(written, &[field]).trim().to_owned();
        let message_expression = text("messageExpression");
        Self {
            program: compile(&text("expression")),
            source: text("expression"),
            message: text("message"),
            message_expression: (!message_expression.is_empty())
                .then(|| compile(&message_expression).ok())
                .flatten(),
            reason: text("reason"),
        }
    }

    fn finding(&self, known: &Variables, budget: &Budget) -> Finding {
        let computed = self
            .message_expression
            .as_ref()
            .and_then(|program| program.text(known, budget).ok());
        let computed = computed
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty() && !text.contains('\n'));
        let message = match computed {
            Some(text) => text,
            None if self.message.is_empty() => format!("failed expression: {}", self.source),
            None => self.message.clone(),
        };
        Finding {
            message,
            reason: self.reason.clone(),
        }
    }
}

/// Compiles an expression of a policy.
pub(super) fn compile(source: &str) -> Result<Program, String> {
    Program::compile(source, &variables::names())
}

fn evaluate(program: &Result<Program, String>, known: &Variables, budget: &Budget) -> Result<bool, String> {
    program.as_ref().map_err(Clone::clone)?.is_true(known, budget)
}
