//! Requests whose fields are set by path, so that one table serves every RPC.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};

use crate::raw;
use crate::rpcs::{self, Place};

/// What is put into a field.
#[derive(Debug, Clone)]
pub enum Input {
    Text(String),
    Texts(Vec<String>),
    /// For integers and enums.
    Number(i64),
    /// Seconds and nanos, for timestamps and durations.
    Span(i64, i32),
    /// For field masks.
    Paths(Vec<String>),
    Flag(bool),
    /// That many empty messages.
    Messages(usize),
    /// Messages with these fields.
    Entries(Vec<Vec<(&'static str, Input)>>),
    Absent,
}

/// The RPC's valid request about this place.
pub fn request(rpc: &str, place: &Place) -> DynamicMessage {
    let bytes = (rpcs::row(rpc).request)(place);
    DynamicMessage::decode(raw::rpc(rpc).input(), &bytes[..]).expect("a valid request")
}

/// Sets the field at `path`, as `key.display_name`; through a list, in each of its entries.
pub fn put(message: &mut DynamicMessage, path: &str, input: &Input) {
    let Some((head, rest)) = path.split_once('.') else { return put_here(message, path, input) };
    let field = field(&message.descriptor(), head);
    let mut inner = message.get_field(&field).into_owned();
    match &mut inner {
        Value::List(entries) => {
            entries.iter_mut().for_each(|entry| put(entry.as_message_mut().expect("a message"), rest, input));
        }
        inner => put(inner.as_message_mut().expect("a message"), rest, input),
    }
    message.set_field(&field, inner);
}

fn put_here(message: &mut DynamicMessage, name: &str, input: &Input) {
    let field = field(&message.descriptor(), name);
    match value(&field, input) {
        Some(value) => message.set_field(&field, value),
        None => message.clear_field(&field),
    }
}

fn field(message: &MessageDescriptor, name: &str) -> FieldDescriptor {
    message.get_field_by_name(name).unwrap_or_else(|| panic!("no field {name} in {}", message.full_name()))
}

fn value(field: &FieldDescriptor, input: &Input) -> Option<Value> {
    let strings = |texts: &[String]| Value::List(texts.iter().cloned().map(Value::String).collect());
    Some(match input {
        Input::Text(text) => Value::String(text.clone()),
        Input::Texts(texts) => strings(texts),
        Input::Number(number) => number_value(field, *number),
        Input::Span(seconds, nanos) => message_value(field, |span| {
            span.set_field_by_name("seconds", Value::I64(*seconds));
            span.set_field_by_name("nanos", Value::I32(*nanos));
        }),
        Input::Paths(paths) => message_value(field, |mask| mask.set_field_by_name("paths", strings(paths))),
        Input::Messages(count) => {
            let Kind::Message(inner) = field.kind() else { panic!("{} holds no messages", field.full_name()) };
            Value::List(vec![Value::Message(DynamicMessage::new(inner)); *count])
        }
        Input::Entries(entries) => {
            let Kind::Message(inner) = field.kind() else { panic!("{} holds no messages", field.full_name()) };
            Value::List(entries.iter().map(|fields| Value::Message(entry(&inner, fields))).collect())
        }
        Input::Flag(flag) => Value::Bool(*flag),
        Input::Absent => return None,
    })
}

fn entry(descriptor: &MessageDescriptor, fields: &[(&'static str, Input)]) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    fields.iter().for_each(|(name, input)| put_here(&mut message, name, input));
    message
}

fn number_value(field: &FieldDescriptor, number: i64) -> Value {
    let small = || i32::try_from(number).expect("32 bits");
    if field.kind() == Kind::Int64 {
        return Value::I64(number);
    }
    if field.kind().as_enum().is_some() { Value::EnumNumber(small()) } else { Value::I32(small()) }
}

fn message_value(field: &FieldDescriptor, fill: impl FnOnce(&mut DynamicMessage)) -> Value {
    let Kind::Message(descriptor) = field.kind() else { panic!("{} is no message", field.full_name()) };
    let mut message = DynamicMessage::new(descriptor);
    fill(&mut message);
    Value::Message(message)
}

/// Every field that a caller can fill, as paths; messages of the contract are walked into, Google's are leaves.
pub fn paths(message: &MessageDescriptor) -> Vec<String> {
    let mut found = Vec::new();
    for field in message.fields() {
        let inner = field.kind().as_message().filter(|inner| inner.package_name() == "claviger.v1").cloned();
        if inner.is_none() || field.is_list() {
            found.push(field.name().to_owned());
        }
        let below = inner.iter().flat_map(paths).map(|path| format!("{}.{path}", field.name()));
        found.extend(below);
    }
    found
}

/// Every text inside an input.
pub fn texts(input: &Input) -> Vec<&str> {
    match input {
        Input::Text(text) => vec![text],
        Input::Texts(texts) | Input::Paths(texts) => texts.iter().map(String::as_str).collect(),
        Input::Entries(entries) => entries.iter().flatten().flat_map(|(_, input)| texts(input)).collect(),
        Input::Number(_) | Input::Span(..) | Input::Flag(_) | Input::Messages(_) | Input::Absent => Vec::new(),
    }
}
