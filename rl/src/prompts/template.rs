//! What a prompt looks like.

use super::Asked;
use crate::RlError;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, context};
use octo_recipe::PromptTemplate;
use octo_rows::{Row, Template};
use octo_text::Tokenizer;
use serde_json::Value;
use std::collections::BTreeMap;

/// Instructions that a chat template may take.
const FUEL: u64 = 1_000_000;

/// Question, answer, and a cue. The paper's simple template is not published; this is its shape in the work it builds on.
const SIMPLE: &str = "Question:\n{{ question }}\nAnswer:\nLet's think step by step.\n";

/// After Open-Reasoner-Zero's base-model prompt as a conversation with a boxed answer and no tags: the paper's "complex"
/// template has these parts in this order.
const ORZ: &str = "The following is a conversation between a User and an Assistant. The User poses a problem, and the \
                   Assistant solves it: it reasons about the problem in its mind first, and then tells the User the \
                   answer.\nUser: Put your final answer inside \\boxed{}, from where it is read by a program. This is the \
                   problem:\n{{ question }}\nAssistant:";

/// A template of prompts, ready to be used.
pub(crate) enum PromptFormat {
    /// The question as it is.
    Plain,
    /// A template over `question`, `messages` and the row's fields.
    Row(Box<Template>),
    /// The tokenizer's chat template.
    Chat(Box<Chat>),
}

/// A chat template as Hugging Face's tokenizers have it.
pub(crate) struct Chat {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl PromptFormat {
    /// The template that a recipe names.
    pub fn new(template: &PromptTemplate, tokenizer: &Tokenizer) -> Result<PromptFormat, RlError> {
        let of_text = |text: &str| Ok(PromptFormat::Row(Box::new(Template::new(text)?)));
        match template {
            PromptTemplate::None => Ok(PromptFormat::Plain),
            PromptTemplate::Simple => of_text(SIMPLE),
            PromptTemplate::Orz => of_text(ORZ),
            PromptTemplate::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| RlError::Template {
                    name: path.display().to_string(),
                    reason: error.to_string(),
                })?;
                of_text(&text)
            }
            PromptTemplate::Chat => Ok(PromptFormat::Chat(Box::new(Chat::of(tokenizer)?))),
        }
    }

    /// Whether it writes special tokens itself.
    pub fn is_chat(&self) -> bool {
        matches!(self, PromptFormat::Chat(_))
    }

    /// The prompt of a row.
    pub fn render(&self, asked: &Asked, row: &Row) -> Result<String, RlError> {
        match self {
            PromptFormat::Plain => Ok(asked.question.clone()),
            PromptFormat::Row(template) => {
                let mut row = row.clone();
                row.fields.insert("question".to_owned(), asked.question.clone().into());
                row.fields.insert("messages".to_owned(), Value::Array(asked.messages.clone()));
                Ok(template.render(&row)?)
            }
            PromptFormat::Chat(chat) => chat.render(&asked.messages),
        }
    }
}

fn of_chat(reason: impl ToString) -> RlError {
    RlError::Template { name: "chat".to_owned(), reason: reason.to_string() }
}

impl Chat {
    fn of(tokenizer: &Tokenizer) -> Result<Chat, RlError> {
        let config: Option<Value> = tokenizer.config_json().and_then(|json| serde_json::from_str(json).ok());
        let text = config.as_ref().and_then(|config| config.get("chat_template")?.as_str());
        let text =
            text.ok_or_else(|| of_chat("the tokenizer has no chat_template in its tokenizer_config.json"))?;
        let mut environment = Environment::new();
        // As Hugging Face's tokenizers set up Jinja.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(of_chat)?);
        environment.set_fuel(Some(FUEL));
        environment.add_template_owned("chat", text.to_owned()).map_err(of_chat)?;
        let word = |id: Option<u32>| id.and_then(|id| tokenizer.id_to_token(id)).unwrap_or_default();
        Ok(Chat { environment, bos: word(tokenizer.bos_id()), eos: word(tokenizer.eos_id()) })
    }

    fn render(&self, messages: &[Value]) -> Result<String, RlError> {
        let template = self.environment.get_template("chat").map_err(of_chat)?;
        // A message is a table of texts.
        let values = context! {
            messages => messages.iter().map(texts).collect::<Vec<_>>(),
            add_generation_prompt => true,
            bos_token => self.bos.as_str(),
            eos_token => self.eos.as_str(),
        };
        template.render(values).map_err(of_chat)
    }
}

/// The texts of a message, by name.
fn texts(message: &Value) -> BTreeMap<String, String> {
    let fields = message.as_object().into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_rows::Origin;
    use std::path::Path;

    /// A tokenizer of a few letters, with a chat template.
    fn tokenizer(config: Option<&str>) -> Tokenizer {
        let json = r#"{"version":"1.0","added_tokens":[{"id":0,"content":"</s>","single_word":false,"lstrip":false,
            "rstrip":false,"normalized":false,"special":true}],"normalizer":null,
            "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false},
            "post_processor":null,"decoder":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false},
            "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,
            "end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,"vocab":{"</s>":0,"a":1},"merges":[]}}"#;
        Tokenizer::from_json(json.to_owned(), config.map(str::to_owned)).unwrap()
    }

    fn row() -> Row {
        let fields = serde_json::from_str(r#"{"level": 5}"#).unwrap();
        Row { fields, origin: Origin { file: Path::new("f").into(), line: 1 }, unread: Default::default() }
    }

    fn rendered(template: &PromptTemplate, config: Option<&str>) -> Result<String, RlError> {
        let asked = Asked::of_question("1+1?".to_owned());
        PromptFormat::new(template, &tokenizer(config))?.render(&asked, &row())
    }

    #[test]
    fn each_template_holds_the_question() {
        assert_eq!(rendered(&PromptTemplate::None, None).unwrap(), "1+1?");
        let simple = rendered(&PromptTemplate::Simple, None).unwrap();
        assert!(simple.starts_with("Question:\n1+1?\nAnswer:\n"), "{simple}");
        let orz = rendered(&PromptTemplate::Orz, None).unwrap();
        assert!(orz.contains("\\boxed{}") && orz.ends_with("1+1?\nAssistant:"), "{orz}");
    }

    #[test]
    fn a_chat_template_is_the_tokenizers_own() {
        let config = r#"{"eos_token": "</s>", "chat_template": "{% for m in messages %}\n<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}\n{% if add_generation_prompt %}<assistant>{% endif %}"}"#;
        assert_eq!(rendered(&PromptTemplate::Chat, Some(config)).unwrap(), "<user>1+1?</s><assistant>");
        let error = rendered(&PromptTemplate::Chat, None).unwrap_err().to_string();
        assert!(error.contains("chat_template"), "{error}");
        let endless = r#"{"eos_token": "</s>", "chat_template": "{% for i in range(10000) %}{% for j in range(10000) %}x{% endfor %}{% endfor %}"}"#;
        assert!(rendered(&PromptTemplate::Chat, Some(endless)).is_err());
    }

    #[test]
    fn a_file_may_use_question_and_fields() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jinja");
        std::fs::File::create(&path)
            .and_then(|mut f| std::io::Write::write_all(&mut f, b"L{{ level }}: {{ question }}"))
            .unwrap();
        assert_eq!(rendered(&PromptTemplate::File(path), None).unwrap(), "L5: 1+1?");
    }
}
