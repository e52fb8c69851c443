use serde_json::json;

use super::*;
use crate::schema::compile::Compiler;

/// Evaluates with `self` bound.
fn eval(source: &str, own: &serde_json::Value) -> Result<bool, String> {
    let program = Program::compile(source, &[("self", Shape::Dyn)])?;
    let mut variables = Variables::new();
    variables.set("self", value::untyped(own));
    program.is_true(&variables, &Budget::of_object())
}

#[track_caller]
fn holds(source: &str) {
    assert_eq!(eval(source, &serde_json::Value::Null), Ok(true), "{source}");
}

#[track_caller]
fn fails(source: &str, why: &str) {
    assert_eq!(eval(source, &serde_json::Value::Null), Err(why.to_owned()), "{source}");
}

#[test]
fn addresses_and_prefixes() {
    holds("isIP('10.0.0.1') && isIP('::1') && !isIP('::ffff:1.2.3.4') && !isIP('10.0.0.256')");
    holds("isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0') && !isCIDR('10.0.0.0/33')");
    holds("ip('127.0.0.1').isLoopback() && ip('127.0.0.1').family() == 4 && ip('fe80::1').isLinkLocalUnicast()");
    holds(
        "ip('8.8.8.8').isGlobalUnicast() && !ip('224.0.0.1').isGlobalUnicast() && ip('224.0.0.1').isLinkLocalMulticast()",
    );
    holds("ip.isCanonical('2001:db8::1') && !ip.isCanonical('2001:DB8::1')");
    holds("cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('11.1.2.3'))");
    holds("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')");
    holds("cidr('10.0.0.0/8').prefixLength() == 8 && string(cidr('10.0.0.0/8').ip()) == '10.0.0.0'");
    fails(
        "ip('x').isLoopback()",
        "IP Address \"x\" parse error during conversion from string",
    );
}

#[test]
fn quantities() {
    holds("quantity('1.5Gi') == quantity('1536Mi') && quantity('1k').isLessThan(quantity('1Ki'))");
    holds("quantity('100m').add(quantity('0.9')).asInteger() == 1 && quantity('2').sub(3).sign() == -1");
    holds("quantity('50m').isInteger() == false && quantity('3e2').asInteger() == 300");
    holds("quantity('1').compareTo(quantity('2')) == -1 && quantity('1.5').asApproximateFloat() == 1.5");
    holds("!isQuantity('') && !isQuantity('1.2.3') && !isQuantity('10 k') && isQuantity('-0.5')");
}

#[test]
fn urls() {
    let url = "url('https://user@example.com:8443/a b?x=1&x=2&y=%41#z')";
    holds(&format!(
        "{url}.getScheme() == 'https' && {url}.getHost() == 'example.com:8443'"
    ));
    holds(&format!(
        "{url}.getHostname() == 'example.com' && {url}.getPort() == '8443'"
    ));
    holds(&format!(
        "{url}.getEscapedPath() == '/a%20b' && {url}.getQuery() == {{'x': ['1', '2'], 'y': ['A']}}"
    ));
    holds(
        "isURL('/path') && !isURL('nothing') && !isURL('http://a:b/') && url('http://[::1]:80/').getHostname() == '::1'",
    );
}

#[test]
fn lists_sets_and_expressions() {
    holds("[1, 2, 3].isSorted() && !['b', 'a'].isSorted() && [1, 2, 3].sum() == 6 && [].sum() == 0");
    holds(
        "[3, 1, 2].min() == 1 && ['a', 'c', 'b'].max() == 'c' && [1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2",
    );
    holds("sets.contains([1, 2], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && !sets.intersects([1], [2])");
    holds(
        "'abc 123'.find('[0-9]+') == '123' && 'a1b2'.findAll('[0-9]') == ['1', '2'] && 'a1b2'.findAll('[0-9]', 1) == ['1']",
    );
    holds("'a,b'.split(',').size() == 2 && 'ABC'.lowerAscii() == 'abc' && '%s=%d'.format(['x', 3]) == 'x=3'");
    fails("[].min() == 1", "min called on empty list");
}

#[test]
fn times() {
    holds("timestamp('2026-01-02T03:04:05Z') > timestamp('2026-01-01T00:00:00Z')");
    holds("timestamp('2026-01-01T01:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('1h')");
    holds("timestamp('2026-01-01T00:00:00Z') + duration('1h30m') == timestamp('2026-01-01T01:30:00Z')");
    holds(
        "timestamp('2026-03-04T05:06:07Z').getMonth() == 2 && duration('90s').getMinutes() == 1 && duration('1.5s').getMilliseconds() == 1500",
    );
    fails("duration('soon') == duration('1s')", "time: invalid duration \"soon\"");
}

#[test]
fn formats() {
    holds("!format.dns1123Label().validate('abc').hasValue() && format.dns1123Label().validate('A').hasValue()");
    holds("format.named('uuid').hasValue() && !format.named('nothing').hasValue()");
    holds("!format.dns1123LabelPrefix().validate('abc-').hasValue()");
}

#[test]
fn optional_fields() {
    let own = json!({"a": {"b": "x"}});
    assert_eq!(
        eval("self.?a.?b.orValue('') == 'x' && self.?c.orValue('y') == 'y'", &own),
        Ok(true)
    );
    assert_eq!(eval("self.a.c == 'x'", &own), Err("no such key: c".into()));
    assert_eq!(eval("has(self.a.b) && !has(self.a.c)", &own), Ok(true));
}

#[test]
fn what_cannot_be_is_refused_before_it_runs() {
    let source = json!({"type": "object", "properties": {"size": {"type": "integer"}, "a-b": {"type": "string"}}});
    let schema = Compiler::structural().compile(&source, "").expect("compiles");
    let compile = |source: &str| Program::compile(source, &[("self", Shape::of(&schema, true))]).map(|_| ());
    assert_eq!(
        compile("self.size > 1 && self.a__dash__b != '' && self.metadata.name != 'x'"),
        Ok(())
    );
    let wrong = |source: &str, report: &str| assert_eq!(compile(source), Err(format!("compilation failed: {report}")));
    wrong(
        "self.sise > 1",
        "ERROR: <input>:1:5: undefined field 'sise'\n | self.sise > 1\n | ....^",
    );
    wrong(
        "size > 1",
        "ERROR: <input>:1:1: undeclared reference to 'size' (in container '')\n | size > 1\n | ^",
    );
    wrong(
        "self.size == 'x'",
        "ERROR: <input>:1:11: found no matching overload for '_==_' applied to '(int, string)'\n | self.size == 'x'\n | ..........^",
    );
    assert!(compile("self.size >").is_err_and(|why| why.contains("Syntax error")));
    assert!(compile("self.metadata.labels.size() > 0").is_err_and(|why| why.contains("undefined field 'labels'")));
    assert!(compile("unheard(self.size)").is_err_and(|why| why.contains("undeclared reference to 'unheard'")));
}

#[test]
fn loops_pay_for_what_they_visit() {
    let program = Program::compile(
        "self.all(a, self.all(b, self.all(c, a + b + c >= 0)))",
        &[("self", Shape::Dyn)],
    );
    let program = program.expect("compiles");
    let mut variables = Variables::new();
    variables.set("self", value::untyped(&json!(vec![1; 60])));
    let result = program.is_true(&variables, &Budget::of(100_000));
    assert_eq!(result, Err(budget::EXCEEDED.into()));
    assert_eq!(program.is_true(&variables, &Budget::of(u64::MAX / 2)), Ok(true));
}

#[test]
fn a_budget_is_shared() {
    let program = Program::compile("[1, 2, 3].all(x, x > 0)", &[]).expect("compiles");
    let budget = Budget::of(60);
    let results: Vec<bool> = (0..10)
        .map(|_| program.is_true(&Variables::new(), &budget).is_ok())
        .collect();
    assert!(results[0] && !results[9], "{results:?}");
}

mod laws {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every address that the standard library reads back is an address, and is canonical.
        #[test]
        fn addresses_are_those_of_the_standard_library(address: std::net::IpAddr) {
            let is_mapped = matches!(address, std::net::IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
            let own = serde_json::json!(address.to_string());
            prop_assert_eq!(eval("isIP(self)", &own), Ok(!is_mapped));
            if !is_mapped {
                prop_assert_eq!(eval("ip.isCanonical(self) && string(ip(self)) == self", &own), Ok(true));
            }
        }

        /// Quantities order as the numbers that they stand for.
        #[test]
        fn quantities_order_as_numbers(one in -1_000_000_i64..1_000_000, two in -1_000_000_i64..1_000_000) {
            let own = serde_json::json!({"a": format!("{one}m"), "b": format!("{two}m")});
            prop_assert_eq!(eval("quantity(self.a).isLessThan(quantity(self.b))", &own), Ok(one < two));
            let sum = format!("{}m", one + two);
            let own = serde_json::json!({"a": format!("{one}m"), "b": format!("{two}m"), "sum": sum});
            prop_assert_eq!(eval("quantity(self.a).add(quantity(self.b)) == quantity(self.sum)", &own), Ok(true));
        }

        /// Nothing that is written makes the compiler fall over.
        #[test]
        fn any_text_compiles_or_is_refused(source in "[a-z0-9.()\\[\\]{}'\"<>=!&|?: +*-]{0,40}") {
            let _ = Program::compile(&source, &[("self", Shape::Dyn)]);
        }

        /// A field's name as expressions spell it is a name of the language, and tells names apart.
        #[test]
        fn escaped_names_are_names(name in "[a-z][a-z0-9_./-]{0,12}", other in "[a-z][a-z0-9_./-]{0,12}") {
            let escaped = value::escape(&name);
            prop_assert!(escaped.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()));
            prop_assert_eq!(name == other, escaped == value::escape(&other));
        }
    }
}
