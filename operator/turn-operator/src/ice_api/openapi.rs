//! The API's own description, made of the types that it reads and writes.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use turn_probe::{
    agent::{AgentOrders, AgentReport},
    visit::Visit,
};

use super::{PATH, answer::Answer, asked::Asked};
use crate::{
    reachability::{AGENT_PATH, VISIT_PATH, VisitTaken},
    refusal::ErrorBody,
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
    let report = schema(SchemaGenerator::subschema_for::<AgentReport>);
    let orders = schema(SchemaGenerator::subschema_for::<AgentOrders>);
    let visit = schema(SchemaGenerator::subschema_for::<Visit>);
    let taken = schema(SchemaGenerator::subschema_for::<VisitTaken>);
    let schemas = generator.take_definitions(true);
    let responses = responses(&answer, &error);
    let of_vantage = |id: &str, summary: &str, asked: &Value, answer: &Value| {
        json!({
            "parameters": (["namespace", "name", "vantage"].map(in_path)),
            "post": {
                "operationId": id,
                "summary": summary,
                "security": [{"vantage": []}],
                "requestBody": {"required": true, "content": {"application/json": {"schema": asked}}},
                "responses": responses_to_vantages(answer, &error),
            },
        })
    };
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
            AGENT_PATH: of_vantage(
                "exchangeProbes",
                "What an agent outside has found, for what it is to probe next.",
                &report,
                &orders,
            ),
            VISIT_PATH: of_vantage(
                "reportVisit",
                "What a visitor's browser has found on the page at /doctor. It is told and looked into, and lets no relay in or out.",
                &visit,
                &taken,
            ),
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
                "vantage": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A value of the Secret that spec.reachability.vantages names, under the vantage's name.",
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

fn response(description: &str, schema: &Value) -> Value {
    json!({"description": description, "content": {"application/json": {"schema": schema}}})
}

fn responses_to_vantages(answer: &Value, error: &Value) -> Value {
    let refusal = |description: &str| response(description, error);
    json!({
        "200": response("It is taken.", answer),
        "400": refusal("A part of it is wrong; the message names it."),
        "401": refusal("No such TurnServer or vantage, or not its token."),
        "413": refusal("The body is too long."),
        "422": refusal("The body is JSON of another kind."),
        "429": refusal("Asked too often; Retry-After says when the next may come."),
        "503": refusal("This replica is not the leader: ask again, on another connection."),
    })
}

fn responses(answer: &Value, error: &Value) -> Value {
    let refusal = |description: &str| response(description, error);
    json!({
        "200": response("What the client needs.", answer),
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
