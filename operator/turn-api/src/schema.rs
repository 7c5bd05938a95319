//! What the API server checks by schema: unknown fields, types, bounds; and the defaults it fills
//! in. Patterns are left to [`crate::Validated`].

use std::{collections::BTreeSet, fmt};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value};

/// A field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field, such as `spec.listeners[1].port`.
    pub field: String,
    /// The value that was found there, as JSON. Empty when there is none, or too much to show.
    pub value: String,
    /// What would be right.
    pub message: String,
}

impl Violation {
    pub(crate) fn new(
        field: impl Into<String>,
        value: impl Into<Value>,
        message: impl Into<String>,
    ) -> Self {
        let value = value.into();
        let value = if value.is_null() { String::new() } else { value.to_string() };
        Self { field: field.into(), value, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, message } = self;
        if value.is_empty() {
            write!(f, "{field}: {message}")
        } else {
            write!(f, "{field}: {value}: {message}")
        }
    }
}

/// Fills the defaults of `schema` into `value`, and says what is wrong with it. Nulls are dropped
/// first, as the API server does.
pub(crate) fn check(schema: &JSONSchemaProps, path: &str, value: &mut Value) -> Vec<Violation> {
    let mut found = Vec::new();
    walk(schema, path, value, &mut found);
    found
}

fn walk(schema: &JSONSchemaProps, path: &str, value: &mut Value, found: &mut Vec<Violation>) {
    if !has_type(schema, value) {
        let wanted = schema.type_.as_deref().unwrap_or("integer or string");
        found.push(Violation::new(path, shown(value), format!("must be of type {wanted}")));
        return;
    }
    if let Some(allowed) = &schema.enum_
        && !allowed.iter().any(|one| one.0 == *value)
    {
        let allowed: Vec<String> = allowed.iter().map(|one| one.0.to_string()).collect();
        found.push(Violation::new(path, shown(value), format!("must be {}", allowed.join(" or "))));
    }
    match value {
        Value::Object(object) => walk_object(schema, path, object, found),
        Value::Array(items) => walk_array(schema, path, items, found),
        Value::String(text) => check_length(schema, path, text, found),
        Value::Number(number) => {
            if let Some(number) = number.as_f64() {
                check_bounds(schema, path, number, found);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// A list or an object is too much to show in a message.
fn shown(value: &Value) -> Value {
    match value {
        Value::Array(_) | Value::Object(_) => Value::Null,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn has_type(schema: &JSONSchemaProps, value: &Value) -> bool {
    if schema.x_kubernetes_int_or_string == Some(true) {
        return value.is_string() || value.is_i64();
    }
    match schema.type_.as_deref() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        // The API server takes 3478.0 for an integer too.
        Some("integer") => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        Some("number") => value.is_number(),
        Some(_) | None => true,
    }
}

fn walk_object(
    schema: &JSONSchemaProps,
    path: &str,
    object: &mut Map<String, Value>,
    found: &mut Vec<Violation>,
) {
    object.retain(|_, value| !value.is_null());
    let Some(properties) = &schema.properties else {
        return walk_map(schema, path, object, found);
    };
    for (name, property) in properties {
        if let Some(default) = &property.default
            && !object.contains_key(name)
        {
            object.insert(name.clone(), default.0.clone());
        }
    }
    for name in schema.required.iter().flatten().filter(|name| !object.contains_key(*name)) {
        found.push(Violation::new(format!("{path}.{name}"), Value::Null, "is required"));
    }
    for (name, value) in object.iter_mut() {
        let path = format!("{path}.{name}");
        match properties.get(name) {
            Some(property) => walk(property, &path, value, found),
            None => found.push(unknown(&path, properties.keys().map(String::as_str))),
        }
    }
}

fn unknown<'a>(path: &str, known: impl Iterator<Item = &'a str>) -> Violation {
    let known = known.collect::<Vec<_>>().join(", ");
    Violation::new(path, Value::Null, format!("unknown field; the fields here are {known}"))
}

fn walk_map(
    schema: &JSONSchemaProps,
    path: &str,
    object: &mut Map<String, Value>,
    found: &mut Vec<Violation>,
) {
    if let Some(most) = schema.max_properties
        && object.len() as i64 > most
    {
        found.push(Violation::new(path, Value::Null, format!("must have at most {most} entries")));
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        for (name, value) in object {
            walk(values, &format!("{path}[{name}]"), value, found);
        }
    }
}

fn walk_array(
    schema: &JSONSchemaProps,
    path: &str,
    items: &mut [Value],
    found: &mut Vec<Violation>,
) {
    let count = items.len() as i64;
    if let Some(most) = schema.max_items.filter(|most| count > *most) {
        found.push(Violation::new(path, Value::Null, format!("must have at most {most} items")));
    }
    if let Some(least) = schema.min_items.filter(|least| count < *least) {
        found.push(Violation::new(path, Value::Null, format!("must have at least {least} items")));
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items {
        for (index, value) in items.iter_mut().enumerate() {
            walk(item, &format!("{path}[{index}]"), value, found);
        }
    }
    check_duplicates(schema, path, items, found);
}

fn check_duplicates(
    schema: &JSONSchemaProps,
    path: &str,
    items: &[Value],
    found: &mut Vec<Violation>,
) {
    let keys = schema.x_kubernetes_list_map_keys.as_deref().unwrap_or_default();
    let identity = |item: &Value| match schema.x_kubernetes_list_type.as_deref() {
        Some("set") => Some(item.to_string()),
        Some("map") => {
            let pairs: Map<String, Value> =
                keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone()))).collect();
            Some(Value::Object(pairs).to_string())
        }
        Some(_) | None => None,
    };
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let Some(identity) = identity(item) else { return };
        if !seen.insert(identity.clone()) {
            let message = format!("Duplicate value: {identity}");
            found.push(Violation::new(format!("{path}[{index}]"), Value::Null, message));
        }
    }
}

fn check_length(schema: &JSONSchemaProps, path: &str, text: &str, found: &mut Vec<Violation>) {
    let count = text.chars().count() as i64;
    let bounds = (schema.min_length.unwrap_or(0), schema.max_length.unwrap_or(i64::MAX));
    if count < bounds.0 || count > bounds.1 {
        let message = format!("must have between {} and {} characters", bounds.0, bounds.1);
        found.push(Violation::new(path, text, message));
    }
}

fn check_bounds(schema: &JSONSchemaProps, path: &str, number: f64, found: &mut Vec<Violation>) {
    let least = schema.minimum.unwrap_or(f64::MIN);
    let most = schema.maximum.unwrap_or(f64::MAX);
    if number < least || number > most {
        let message = match (schema.minimum, schema.maximum) {
            (Some(least), Some(most)) => format!("must be between {least} and {most}"),
            (Some(least), None) => format!("must be {least} or more"),
            (None, _) => format!("must be {most} or less"),
        };
        let value =
            if number.fract() == 0.0 { (number as i64).into() } else { Value::from(number) };
        found.push(Violation::new(path, value, message));
    }
}
