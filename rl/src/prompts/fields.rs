//! Where a row has its question and its answer: as verl writes rows, or where `[rl.fields]` says.

use super::Asked;
use crate::RlError;
use octo_recipe::Fields;
use octo_rows::{Row, Template};
use serde_json::Value;

/// Reads rows.
pub(super) struct Reader {
    question: Option<Template>,
    answer: Option<Template>,
    data_source: Option<Template>,
}

impl Reader {
    pub fn new(fields: &Fields) -> Result<Reader, RlError> {
        let template = |text: &Option<String>| text.as_deref().map(Template::new).transpose();
        Ok(Reader {
            question: template(&fields.question)?,
            answer: template(&fields.answer)?,
            data_source: template(&fields.data_source)?,
        })
    }

    /// The last user message of `prompt`, or `prompt` as text, or `question`.
    pub fn question(&self, row: &Row) -> Result<Asked, RlError> {
        if let Some(template) = &self.question {
            return Ok(Asked::of_question(template.render(row)?));
        }
        match (row.fields.get("prompt"), row.fields.get("question")) {
            (Some(Value::Array(messages)), _) => {
                let is_user = |message: &&Value| message.get("role").and_then(Value::as_str) == Some("user");
                let content = messages.iter().rev().find(is_user).and_then(|message| message.get("content"));
                match content.and_then(Value::as_str) {
                    Some(text) => Ok(Asked { question: text.to_owned(), messages: messages.clone() }),
                    None => Err(missing(row, "question")),
                }
            }
            (Some(Value::String(text)), _) | (_, Some(Value::String(text))) => {
                Ok(Asked::of_question(text.clone()))
            }
            _ => Err(missing(row, "question")),
        }
    }

    /// `reward_model.ground_truth`, or `answer`.
    pub fn answer(&self, row: &Row) -> Result<String, RlError> {
        if let Some(template) = &self.answer {
            return Ok(template.render(row)?);
        }
        let of_verl = row.fields.get("reward_model").and_then(|model| model.get("ground_truth"));
        of_verl.or_else(|| row.fields.get("answer")).and_then(written).ok_or_else(|| missing(row, "answer"))
    }

    /// `data_source`; empty where there is none.
    pub fn data_source(&self, row: &Row) -> Result<String, RlError> {
        match &self.data_source {
            Some(template) => Ok(template.render(row)?),
            None => Ok(row.fields.get("data_source").and_then(written).unwrap_or_default()),
        }
    }
}

/// A text, or a number as it is written.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn missing(row: &Row, what: &'static str) -> RlError {
    RlError::Field { origin: row.origin.clone(), what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use octo_rows::Origin;
    use serde_json::json;
    use std::path::Path;

    fn row(value: Value) -> Row {
        let Value::Object(fields) = value else { panic!("an object") };
        let origin = Origin { file: Path::new("rows.jsonl").into(), line: 3 };
        Row { fields, origin, unread: Default::default() }
    }

    #[test]
    fn verls_rows_are_read_as_they_are() {
        let reader = Reader::new(&Fields::default()).unwrap();
        let row = row(json!({
            "data_source": "math", "ability": "math",
            "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": "2 + 2?"}],
            "reward_model": {"style": "rule", "ground_truth": "4"}, "extra_info": {"index": 7},
        }));
        let asked = reader.question(&row).unwrap();
        assert_eq!((asked.question.as_str(), asked.messages.len()), ("2 + 2?", 2));
        assert_eq!(
            (reader.answer(&row).unwrap(), reader.data_source(&row).unwrap()),
            ("4".into(), "math".into())
        );
    }

    #[test]
    fn plain_rows_have_question_and_answer() {
        let reader = Reader::new(&Fields::default()).unwrap();
        let row = row(json!({"question": "2 + 2?", "answer": 4}));
        assert_eq!(reader.question(&row).unwrap().question, "2 + 2?");
        assert_eq!(
            (reader.answer(&row).unwrap(), reader.data_source(&row).unwrap()),
            ("4".into(), String::new())
        );
    }

    #[test]
    fn fields_of_another_name_are_mapped() {
        let text = |text: &str| Some(text.to_owned());
        let fields = Fields {
            question: text("{{ problem }}"),
            answer: text("{{ solution.final }}"),
            data_source: text("mine"),
        };
        let reader = Reader::new(&fields).unwrap();
        let row = row(json!({"problem": "p", "solution": {"final": "s"}, "prompt": "not this"}));
        assert_eq!(reader.question(&row).unwrap().question, "p");
        assert_eq!(
            (reader.answer(&row).unwrap(), reader.data_source(&row).unwrap()),
            ("s".into(), "mine".into())
        );
    }

    #[test]
    fn a_row_without_question_or_answer_is_named() {
        let reader = Reader::new(&Fields::default()).unwrap();
        for broken in [
            json!({"answer": "1"}),
            json!({"prompt": [{"role": "system", "content": "x"}]}),
            json!({"prompt": 5}),
        ] {
            let error = reader.question(&row(broken)).err().unwrap().to_string();
            assert!(error.contains("rows.jsonl:3") && error.contains("question"), "{error}");
        }
        let error = reader.answer(&row(json!({"reward_model": {}, "answer": null}))).unwrap_err().to_string();
        assert!(error.contains("answer"), "{error}");
    }
}
