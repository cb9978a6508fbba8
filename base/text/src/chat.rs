//! Conversations to the text that a model was taught to see them as.
//!
//! The template stands in a model's `tokenizer_config.json` and is Jinja as the transformers library runs it: blocks take the
//! line they stand in with them, strings and mappings have Python's methods, `raise_exception` refuses. It comes with a model and is
//! not trusted: it sees the conversation and the names of special tokens, and its work is bounded.

use crate::{TextError, Tokenizer};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::Value as Json;

/// Instructions that one conversation may cost.
const FUEL: u64 = 10_000_000;
/// The name under which the one template of an environment stands.
const NAME: &str = "chat_template";

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// A model's way of writing conversations down.
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    bos: Option<String>,
    eos: Option<String>,
}

impl ChatTemplate {
    /// The template of a tokenizer's configuration; `None` where it has none. Of several the one called `default`.
    ///
    /// # Errors
    /// When it is no template.
    pub fn of(tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>, TextError> {
        let config: Json =
            tokenizer.config_json().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let Some(source) = template(&config) else { return Ok(None) };
        let token = |key: &str| match &config[key] {
            Json::String(token) => Some(token.clone()),
            Json::Object(token) => token.get("content").and_then(Json::as_str).map(str::to_owned),
            _ => None,
        };
        ChatTemplate::new(source, token("bos_token"), token("eos_token")).map(Some)
    }

    /// A template and the special tokens it may name.
    ///
    /// # Errors
    /// When it is no template.
    pub fn new(source: &str, bos: Option<String>, eos: Option<String>) -> Result<ChatTemplate, TextError> {
        let bad = |e: Error| TextError::ChatTemplate { reason: e.to_string() };
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(bad)?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(NAME, source.to_owned()).map_err(bad)?;
        Ok(ChatTemplate { environment, source: source.to_owned(), bos, eos })
    }

    /// The template as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// A conversation as text, special tokens written out; with the opening of an answer behind it when asked.
    ///
    /// # Errors
    /// When the template refuses the conversation or fails on it.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TextError> {
        let turn = |m: &Message| context! { role => m.role.as_str(), content => m.content.as_str() };
        let messages: Vec<Value> = messages.iter().map(turn).collect();
        let values = context! {
            messages => messages,
            add_generation_prompt => add_generation_prompt,
            bos_token => self.bos.as_deref().unwrap_or(""),
            eos_token => self.eos.as_deref().unwrap_or(""),
        };
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(values))
            .map_err(|e| TextError::ChatTemplate { reason: e.to_string() })
    }
}

/// A single template, or the `default` of a list of named ones.
fn template(config: &Json) -> Option<&str> {
    match &config["chat_template"] {
        Json::String(source) => Some(source),
        Json::Array(named) => {
            named.iter().find(|t| t["name"] == "default").and_then(|t| t["template"].as_str())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::byte_level;

    /// As the templates in use are written: a default system turn, Python's methods, control of white space.
    const TEMPLATE: &str = "{{- bos_token }}\n{%- if messages[0]['role'] == 'system' %}\n    {%- set first = \
        messages[0]['content'].strip() %}\n    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set first = '' \
        %}\n{%- endif %}\n{% for message in messages %}\n    {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) \
        %}\n        {{ raise_exception('roles must alternate') }}\n    {% endif %}\n{{ '<' + message['role'] + '>' + first + \
        message.content | trim + '</>' }}\n{% endfor %}\n{% if add_generation_prompt %}\n{{ '<assistant>' }}\n{%- endif %}";

    fn says(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into() }
    }

    #[test]
    fn a_conversation_is_written_as_its_template_says() {
        let template = ChatTemplate::new(TEMPLATE, Some("<s>".into()), None).unwrap();
        let text = template.render(&[says("system", " Be short. "), says("user", " Hi ")], true).unwrap();
        assert_eq!(text, "<s><user>Be short.Hi</>\n<assistant>");
        let text = template.render(&[says("user", "Hi"), says("assistant", "Ho")], false).unwrap();
        assert_eq!(text, "<s><user>Hi</>\n<assistant>Ho</>\n");
    }

    #[test]
    fn what_a_template_refuses_is_an_error_with_its_words() {
        let template = ChatTemplate::new(TEMPLATE, None, None).unwrap();
        let error = template.render(&[says("assistant", "Hi")], true).unwrap_err().to_string();
        assert!(error.contains("roles must alternate"), "{error}");
        assert!(ChatTemplate::new("{% for", None, None).is_err());
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
        assert!(ChatTemplate::new(endless, None, None).unwrap().render(&[], false).is_err());
    }

    #[test]
    fn a_tokenizer_s_configuration_names_template_and_tokens() {
        let of = |config: Json| {
            let tokenizer =
                Tokenizer::from_json(byte_level().json().into(), Some(config.to_string())).unwrap();
            ChatTemplate::of(&tokenizer).unwrap().map(|t| t.render(&[says("user", "Hi")], true).unwrap())
        };
        let eos = serde_json::json!({"content": "<|im_end|>"});
        let source = "{{ messages[0].content }}{{ eos_token }}";
        let plain = serde_json::json!({"chat_template": source, "eos_token": eos});
        assert_eq!(of(plain).as_deref(), Some("Hi<|im_end|>"));
        let named =
            serde_json::json!([{"name": "tools", "template": "x"}, {"name": "default", "template": source}]);
        let several = serde_json::json!({"chat_template": named, "eos_token": "<|im_end|>"});
        assert_eq!(of(several).as_deref(), Some("Hi<|im_end|>"));
        assert_eq!(of(serde_json::json!({})), None);
    }
}
