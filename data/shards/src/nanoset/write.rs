//! Data files to shards: as many times as it takes, the same bytes in the end.
//!
//! Files are written into `OUTPUT.unfinished`: tokens, index and metadata of one shard after the other, each
//! file whole or absent, and after each shard the state, which says where in the inputs it ends. A start that
//! finds a state goes on behind its last shard. At the end card and manifest are written, and the folder gets
//! its name.

use super::card::{CARD_NAME, CardFile, CardRows, Facts, ShardCard};
use super::pipeline::{self, Chunk, Encoded, Entry, WAITING};
use super::set::UNFINISHED;
use super::state::{Identity, Input, Place, STATE_NAME, State};
use super::{Width, metadata};
use crate::ShardsError;
use crate::encode::{Encoder, TokenizeOptions};
use octo_durable::{
    Disk, DurableError, FileEntry, Fs, MANIFEST_NAME, Manifest, remove_leftovers, write_bytes, write_file,
};
use octo_rows::{Filter, Template};
use octo_text::Tokenizer;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Tokens of a file by default: a minute's work, and few enough files of a hundred thousand million tokens.
pub const TOKENS_PER_FILE: u64 = 250_000_000;

/// Names have five digits, so that their order is that of the files.
const MOST_FILES: usize = 100_000;

/// What to tokenise, and into which folder.
#[derive(Clone, Debug)]
pub struct ShardJob {
    /// What tokenises.
    pub tokenizer: Tokenizer,
    /// The name of the tokenizer for other readers; nanotron gives it to `AutoTokenizer.from_pretrained`.
    pub tokenizer_name: String,
    /// Data files in their order.
    pub inputs: Vec<PathBuf>,
    /// The template that makes a document of a row.
    pub text: String,
    /// The condition a row must meet.
    pub filter: Option<String>,
    /// Whether the bos of the tokenizer's post-processor precedes each document.
    pub add_bos: bool,
    /// Whether the end-of-sequence token follows each document.
    pub add_eos: bool,
    /// The most tokens of a file; a document longer than that has a file of its own.
    pub tokens_per_file: u64,
    /// The folder to make.
    pub output: PathBuf,
    /// Threads that tokenise; `None` is one a core. The files do not depend on it.
    pub threads: Option<usize>,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardProgress {
    /// Whole files written, those of earlier starts included.
    pub files: usize,
    /// Documents so far, those of earlier starts included.
    pub documents: u64,
    /// Tokens so far, those of earlier starts included.
    pub tokens: u64,
    /// Bytes of text so far, those of earlier starts included.
    pub text_bytes: u64,
    /// Bytes of inputs so far; within a file this is an estimate.
    pub input_bytes: u64,
    /// Bytes of all inputs.
    pub inputs_bytes: u64,
}

impl ShardJob {
    /// Does what is left of the job; with `fresh`, all of it.
    ///
    /// `progress` is called now and then, and once before anything is read.
    ///
    /// # Errors
    /// Where the folder exists, or is that of another unfinished job; whatever is wrong with inputs, template
    /// or disk. Whole files stay: the next start goes on behind them.
    pub fn run(
        &self,
        fresh: bool,
        progress: &mut dyn FnMut(ShardProgress),
    ) -> Result<ShardCard, ShardsError> {
        self.run_on(&Disk, fresh, progress)
    }

    /// [`ShardJob::run`] on a disk that may fail.
    pub(crate) fn run_on(
        &self,
        fs: &dyn Fs,
        fresh: bool,
        progress: &mut dyn FnMut(ShardProgress),
    ) -> Result<ShardCard, ShardsError> {
        let vocab_size = self.tokenizer.vocab_size();
        let options = TokenizeOptions { add_bos: self.add_bos, add_eos: self.add_eos, vocab_size };
        let encoder = Encoder::new(&self.tokenizer, options)?;
        let identity = self.identity(&encoder)?;
        let work = PathBuf::from(format!("{}{UNFINISHED}", self.output.display()));
        let _lock = self.begin(fs, &work, fresh)?;
        let state = State::open(&work, identity)?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads.unwrap_or(0)).build();
        let pool = pool.map_err(|error| ShardsError::Threads { source: io::Error::other(error) })?;
        let state = std::thread::scope(|scope| {
            let (documents, read) = sync_channel(WAITING);
            let (tokens, encoded) = sync_channel(WAITING);
            let (inputs, place) = (state.identity.inputs.clone(), state.place);
            let (pool, encoder) = (&pool, &encoder);
            let failed = |source| ShardsError::Threads { source };
            std::thread::Builder::new()
                .spawn_scoped(scope, move || {
                    pipeline::read(&inputs, &self.text, self.filter.as_deref(), place, &documents);
                })
                .map_err(failed)?;
            std::thread::Builder::new()
                .spawn_scoped(scope, move || pipeline::encode(pool, encoder, read, &tokens))
                .map_err(failed)?;
            Writer::new(fs, &work, Width::of_vocabulary(vocab_size), state, encoded, progress).write()
        })?;
        self.finish(fs, &work, &encoder, state)
    }

    fn identity(&self, encoder: &Encoder<'_>) -> Result<Identity, ShardsError> {
        // Syntax errors come before anything is made.
        Template::new(&self.text)?;
        self.filter.as_deref().map(Filter::new).transpose()?;
        if self.tokenizer_name.contains(['|', '\n', '\r']) {
            return Err(ShardsError::TokenizerName { name: self.tokenizer_name.clone() });
        }
        Ok(Identity {
            tokenizer_xxh3: format!("{:032x}", self.tokenizer.content_hash()),
            tokenizer_name: self.tokenizer_name.clone(),
            bos: encoder.bos,
            eos: encoder.eos,
            text: self.text.clone(),
            filter: self.filter.clone(),
            tokens_per_file: self.tokens_per_file.max(1),
            inputs: self.inputs.iter().map(|path| Input::of(path)).collect::<Result<_, _>>()?,
        })
    }

    /// Makes the unfinished folder, or cleans the one that a killed start has left. The lock is held as long
    /// as what is returned.
    fn begin(&self, fs: &dyn Fs, work: &Path, fresh: bool) -> Result<Option<File>, ShardsError> {
        // Killed after the folder got its name: all is there but the last stroke.
        if self.output.join(STATE_NAME).exists() && !work.exists() {
            fs.rename(&self.output, work).map_err(|source| io_error("rename", &self.output, source))?;
        }
        if self.output.exists() {
            return Err(DurableError::Exists { path: self.output.clone() }.into());
        }
        if !work.exists() {
            let parent = parent(work);
            std::fs::create_dir_all(parent).map_err(|source| io_error("create", parent, source))?;
            fs.create_folder(work).map_err(|source| io_error("create", work, source))?;
        }
        let lock = lock(work)?;
        remove_leftovers(fs, work)?;
        // Without a state nobody knows what the rest is.
        if fresh || !work.join(STATE_NAME).exists() {
            // First, so that a state never stands without its files.
            let state = work.join(STATE_NAME);
            if state.exists() {
                fs.remove_file(&state).map_err(|source| io_error("remove", &state, source))?;
            }
            for entry in std::fs::read_dir(work).map_err(|source| io_error("read", work, source))? {
                let path = entry.map_err(|source| io_error("read", work, source))?.path();
                fs.remove_file(&path).map_err(|source| io_error("remove", &path, source))?;
            }
        }
        Ok(lock)
    }

    fn finish(
        &self,
        fs: &dyn Fs,
        work: &Path,
        encoder: &Encoder<'_>,
        state: State,
    ) -> Result<ShardCard, ShardsError> {
        let State { identity, files, mut entries, place } = state;
        if files.is_empty() {
            return Err(ShardsError::NoDocuments { rows: place.rows });
        }
        let card = ShardCard::new(
            &self.tokenizer,
            Facts {
                tokenizer_name: identity.tokenizer_name,
                bos: encoder.bos,
                eos: encoder.eos,
                text: identity.text,
                filter: identity.filter,
                inputs: identity.inputs.iter().map(Input::for_card).collect(),
                rows: place.rows,
                files,
            },
        );
        entries.push(write_entry(fs, work, CARD_NAME, &card.json())?);
        write_bytes(fs, &work.join(MANIFEST_NAME), &Manifest::new(entries).to_json())?;
        fs.rename(work, &self.output).map_err(|source| io_error("finish", &self.output, source))?;
        let parent = parent(&self.output);
        fs.sync_folder(parent).map_err(|source| io_error("sync", parent, source))?;
        let state = self.output.join(STATE_NAME);
        fs.remove_file(&state).map_err(|source| io_error("remove", &state, source))?;
        fs.sync_folder(&self.output).map_err(|source| io_error("sync", &self.output, source))?;
        Ok(card)
    }
}

/// Writes tokens to one file after the other.
struct Writer<'a> {
    fs: &'a dyn Fs,
    work: &'a Path,
    width: Width,
    state: State,
    encoded: Receiver<Chunk<Encoded>>,
    chunk: std::vec::IntoIter<Entry<Encoded>>,
    /// The document to be written next, with its input.
    next: Option<(usize, Encoded)>,
    /// Behind the document written last.
    place: Place,
    /// What became of the rows of all inputs that have ended.
    rows: CardRows,
    progress: &'a mut dyn FnMut(ShardProgress),
    done: ShardProgress,
    /// Bytes of the inputs that have ended, and of their texts.
    ended: [u64; 2],
}

impl<'a> Writer<'a> {
    fn new(
        fs: &'a dyn Fs,
        work: &'a Path,
        width: Width,
        state: State,
        encoded: Receiver<Chunk<Encoded>>,
        progress: &'a mut dyn FnMut(ShardProgress),
    ) -> Writer<'a> {
        let place = state.place;
        let ended = state.identity.inputs.iter().take(place.input).map(|input| input.bytes).sum();
        let done = ShardProgress {
            files: state.files.len(),
            documents: state.files.iter().map(|file| file.documents).sum(),
            tokens: state.files.iter().map(|file| file.tokens).sum(),
            text_bytes: place.text_bytes,
            input_bytes: ended,
            inputs_bytes: state.identity.inputs.iter().map(|input| input.bytes).sum(),
        };
        let (chunk, rows, ended) = (Vec::new().into_iter(), place.rows, [ended, place.text_bytes]);
        Writer { fs, work, width, state, encoded, chunk, next: None, place, rows, progress, done, ended }
    }

    /// Writes files until there are no more documents.
    fn write(mut self) -> Result<State, ShardsError> {
        (self.progress)(self.done);
        self.next = self.document()?;
        while self.next.is_some() {
            self.file()?;
        }
        self.state.place = Place { rows: self.rows, ..self.place };
        Ok(self.state)
    }

    /// The next document that has tokens.
    fn document(&mut self) -> Result<Option<(usize, Encoded)>, ShardsError> {
        loop {
            match self.chunk.next() {
                Some(Entry::Document { input, document }) if !document.tokens.is_empty() => {
                    return Ok(Some((input, document)));
                }
                Some(Entry::Document { .. }) => {}
                Some(Entry::End { input, counts }) => {
                    self.rows = self.rows.plus(counts);
                    let bytes = self.state.identity.inputs.get(input).map_or(0, |input| input.bytes);
                    self.ended = [self.ended[0] + bytes, self.done.text_bytes];
                }
                None => {
                    self.tell();
                    let Ok(chunk) = self.encoded.recv() else { return Ok(None) };
                    self.chunk = chunk?.into_iter();
                }
            }
        }
    }

    fn tell(&mut self) {
        let [bytes, text] = self.ended;
        // An input's texts are taken to be the part of it that they were of the inputs before.
        let part = if text == 0 { 1.0 } else { bytes as f64 / text as f64 };
        let more = ((self.done.text_bytes - text) as f64 * part) as u64;
        let most = self.state.identity.inputs.get(self.place.input).map_or(0, |input| input.bytes);
        self.done.input_bytes = (bytes + more.min(most)).min(self.done.inputs_bytes);
        (self.progress)(self.done);
    }

    /// Writes the next document and those that fit behind it, then the index, the metadata and the state.
    fn file(&mut self) -> Result<(), ShardsError> {
        let number = self.state.files.len();
        if number == MOST_FILES {
            return Err(ShardsError::TooManyFiles { files: MOST_FILES });
        }
        let name = format!("{number:05}.ds");
        let (mut ends, mut tokens, mut hash) = (Vec::new(), 0, Xxh3::new());
        let (mut bytes, mut failed) = (Vec::new(), None);
        let written = write_file(self.fs, &self.work.join(&name), |out| {
            while let Some((input, document)) = self.next.take() {
                let more = document.tokens.len() as u64;
                if tokens > 0 && tokens + more > self.state.identity.tokens_per_file {
                    self.next = Some((input, document));
                    break;
                }
                bytes.clear();
                append(&mut bytes, &document.tokens, self.width);
                hash.update(&bytes);
                out.write_all(&bytes)?;
                tokens += more;
                ends.extend(u64::to_le_bytes(tokens));
                self.done.documents += 1;
                self.done.tokens += more;
                self.done.text_bytes += document.text_bytes;
                let (rows, text_bytes) = (self.rows, self.done.text_bytes);
                self.place = Place { input, line: document.line, rows, text_bytes };
                match self.document() {
                    Ok(next) => self.next = next,
                    Err(error) => {
                        failed = Some(error);
                        return Err(io::Error::other("the documents ended early"));
                    }
                }
            }
            Ok(())
        });
        if let Some(error) = failed {
            return Err(error);
        }
        written?;
        let xxh3 = format!("{:016x}", hash.digest());
        let bytes = tokens * self.width.bytes() as u64;
        let text = metadata::text(&self.state.identity.tokenizer_name, self.width, tokens);
        self.state.entries.extend([
            FileEntry { path: name.clone(), bytes, xxh3: xxh3.clone() },
            write_entry(self.fs, self.work, &format!("{name}.index"), &ends)?,
            write_entry(self.fs, self.work, &format!("{name}.metadata"), text.as_bytes())?,
        ]);
        let documents = ends.len() as u64 / 8;
        self.state.files.push(CardFile { name, documents, tokens, xxh3 });
        self.state.place = self.place;
        self.state.save(self.fs, self.work)?;
        self.done.files += 1;
        self.tell();
        Ok(())
    }
}

fn append(bytes: &mut Vec<u8>, tokens: &[u32], width: Width) {
    match width {
        // Every id was held against a vocabulary that fits.
        Width::Two => bytes.extend(tokens.iter().flat_map(|&token| (token as u16).to_le_bytes())),
        Width::Four => bytes.extend(tokens.iter().flat_map(|&token| token.to_le_bytes())),
    }
}

fn write_entry(fs: &dyn Fs, folder: &Path, name: &str, bytes: &[u8]) -> Result<FileEntry, ShardsError> {
    write_bytes(fs, &folder.join(name), bytes)?;
    let xxh3 = format!("{:016x}", xxh3_64(bytes));
    Ok(FileEntry { path: name.to_owned(), bytes: bytes.len() as u64, xxh3 })
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Locks a folder against a second writer, where its file system can.
fn lock(folder: &Path) -> Result<Option<File>, ShardsError> {
    let Ok(opened) = File::open(folder) else { return Ok(None) };
    match opened.try_lock() {
        Ok(()) => Ok(Some(opened)),
        Err(TryLockError::WouldBlock) => Err(ShardsError::Busy { folder: folder.to_owned() }),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> ShardsError {
    DurableError::Io { action, path: path.to_owned(), source }.into()
}
