//! Whether the API server already has what is desired, so that nothing needs to be written.

use serde_json::Value;

/// Whether everything that `desired` says stands in `observed`. What the API server or others have
/// added is passed over: fields that are not desired, members of lists whose members have names.
/// Empty and absent are the same. Quantities are compared as numbers, because the API server
/// rewrites them (`0.5` becomes `500m`).
#[must_use]
pub fn is_subset(desired: &Value, observed: &Value) -> bool {
    match (desired, observed) {
        (Value::Object(desired), Value::Object(observed)) => desired.iter().all(|(key, value)| {
            is_empty(value) || is_subset(value, observed.get(key).unwrap_or(&Value::Null))
        }),
        (Value::Array(desired), Value::Array(observed)) => lists_agree(desired, observed),
        (Value::String(desired), Value::String(observed)) => {
            desired == observed
                || quantity(desired).is_some_and(|number| quantity(observed) == Some(number))
        }
        (Value::Number(desired), Value::Number(observed)) => desired.as_f64() == observed.as_f64(),
        (desired, observed) => desired == observed || (is_empty(desired) && is_empty(observed)),
    }
}

fn lists_agree(desired: &[Value], observed: &[Value]) -> bool {
    let named = !desired.is_empty() && desired.iter().all(|item| item.get("name").is_some());
    if named {
        return desired.iter().all(|item| {
            observed
                .iter()
                .find(|other| other.get("name") == item.get("name"))
                .is_some_and(|other| is_subset(item, other))
        });
    }
    desired.len() == observed.len()
        && desired.iter().zip(observed).all(|(item, other)| is_subset(item, other))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The number that a quantity stands for, in thousandths; absent when the text is none, or is
/// finer or larger than that can say.
fn quantity(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let scale: i128 = match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}").parse::<i128>().ok()?;
    let parts = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some(digits.checked_mul(scale)? / parts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(desired: Value, observed: Value, expected: bool) {
        assert_eq!(is_subset(&desired, &observed), expected, "{desired} in {observed}");
    }

    #[test]
    fn what_others_add_is_no_difference() {
        check(json!({"a": 1}), json!({"a": 1, "b": 2}), true);
        check(json!({"a": {}}), json!({}), true);
        check(json!({"a": [], "b": null}), json!({"c": 1}), true);
        check(json!([{"name": "a"}]), json!([{"name": "b"}, {"name": "a", "x": 1}]), true);
    }

    #[test]
    fn what_others_change_or_remove_is() {
        check(json!({"a": 1}), json!({"a": 2}), false);
        check(json!({"a": 1}), json!({}), false);
        check(json!([1, 2]), json!([1]), false);
        check(json!([1, 2]), json!([2, 1]), false);
        check(json!([{"name": "a", "x": 1}]), json!([{"name": "a", "x": 2}]), false);
        check(json!([{"name": "a"}]), json!([]), false);
        check(json!({"a": false}), json!({}), false);
    }

    #[test]
    fn quantities_are_numbers() {
        check(json!("0.5"), json!("500m"), true);
        check(json!("1024Mi"), json!("1Gi"), true);
        check(json!("1"), json!("1000m"), true);
        check(json!("1"), json!("1001m"), false);
        check(json!("a"), json!("b"), false);
    }
}
