//! The API's own description, made of the types that it reads and writes.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use super::{
    PATH,
    answer::{Answer, ErrorBody},
    asked::Asked,
};

/// The OpenAPI document, version 3.1.
pub(super) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut schema = |of: fn(&mut SchemaGenerator) -> schemars::Schema| json!(of(&mut generator));
    let answer = schema(SchemaGenerator::subschema_for::<Answer>);
    let error = schema(SchemaGenerator::subschema_for::<ErrorBody>);
    let asked = schema(SchemaGenerator::subschema_for::<Asked>);
    let schemas = generator.take_definitions(true);
    let responses = responses(&answer, &error);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Turnpike's ICE-servers API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What WebRTC clients need to reach the relays of a TurnServer now.",
        },
        "paths": {
            PATH: {
                "parameters": [in_path("namespace"), in_path("name"), {
                    "name": "X-Turnpike-Region",
                    "in": "header",
                    "description": "The region that a load balancer sets. Passed over where the request names one, and where there is no such region.",
                    "schema": {"type": "string"},
                }],
                "get": {
                    "operationId": "getIceServers",
                    "parameters": query(&schemas),
                    "responses": responses,
                },
                "post": {
                    "operationId": "makeIceServers",
                    "requestBody": {"content": {"application/json": {"schema": asked}}},
                    "responses": responses,
                },
            },
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "kubernetes": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of Kubernetes whose user may get turnservers/iceservers.",
                },
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Api-Key",
                    "description": "A value of the Secret that spec.iceServers.apiKeys names.",
                },
            },
        },
        "security": [{"kubernetes": []}, {"apiKey": []}],
    })
}

fn in_path(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}})
}

/// The fields of a body, each as a parameter.
fn query(schemas: &serde_json::Map<String, Value>) -> Vec<Value> {
    let name = Asked::schema_name();
    let fields = schemas.get(&*name).and_then(|schema| schema["properties"].as_object());
    let parameter = |(name, schema): (&String, &Value)| json!({"name": name, "in": "query", "description": schema["description"], "schema": schema});
    fields.into_iter().flatten().map(parameter).collect()
}

fn responses(answer: &Value, error: &Value) -> Value {
    let refusal = |description: &str| {
        json!({
            "description": description,
            "content": {"application/json": {"schema": error}},
        })
    };
    json!({
        "200": {
            "description": "What the client needs.",
            "content": {"application/json": {"schema": answer}},
        },
        "400": refusal("A parameter is unknown or wrong; `field` names it."),
        "401": refusal("No credentials, or none that are known."),
        "403": refusal("The user may not."),
        "404": refusal("No such TurnServer."),
        "408": refusal("The body did not come."),
        "413": refusal("The body is too long."),
        "429": refusal("Too many requests; Retry-After says when the next may come."),
        "503": refusal("No relay can be used now, or the API server does not answer."),
    })
}
