//! Tables from CSV files with a header line.

use super::{ArrayDataset, Batch, Dataset, Sample, SampleCtx};
use crate::array::Array;
use crate::error::{DataError, Result};
use crate::read::csv::{Row, rows};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a cell without a value becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Missing {
    /// An error that names line and column.
    #[default]
    Error,
    /// This number, in numeric columns.
    Fill(f32),
    /// The column's mean over the cells that have a value.
    Mean,
}

/// What the target column is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Task {
    /// Text is a class; numbers are a value to predict.
    #[default]
    Auto,
    /// A number, as an f32 target of shape `[1]`.
    Regression,
    /// A class, as an i64 label of shape `[]`.
    Classification,
}

/// How to read a CSV file.
#[derive(Clone, Debug)]
pub struct CsvOptions {
    /// The target column's name.
    pub target: String,
    /// The feature columns; all others when empty.
    pub features: Vec<String>,
    /// Columns to leave out of the features.
    pub drop: Vec<String>,
    /// Columns whose numbers are names and not quantities.
    pub categorical: Vec<String>,
    /// Between cells; a comma by default.
    pub delimiter: char,
    /// What a missing value becomes.
    pub missing: Missing,
    /// What counts as missing besides nothing at all: `NA` and `nan` by default.
    pub missing_names: Vec<String>,
    /// What the target is.
    pub task: Task,
    /// Whether text is allowed in features (as a categorical column); an error when not.
    pub allow_text: bool,
}

impl CsvOptions {
    /// The defaults, with a target column.
    pub fn target(name: impl Into<String>) -> Self {
        Self {
            target: name.into(),
            features: Vec::new(),
            drop: Vec::new(),
            categorical: Vec::new(),
            delimiter: ',',
            missing: Missing::Error,
            missing_names: vec!["NA".into(), "nan".into(), "NaN".into()],
            task: Task::Auto,
            allow_text: true,
        }
    }
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq)]
pub enum ColumnKind {
    /// Numbers.
    Numeric,
    /// Names, each stored as its index in this sorted list.
    Categorical(Vec<String>),
}

/// A column that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct CsvColumn {
    /// The header's name.
    pub name: String,
    /// Numbers or categories.
    pub kind: ColumnKind,
}

/// A table in memory: f32 features `[d]` and a target.
///
/// ```
/// use hadal_data::{CsvDataset, CsvOptions, Dataset};
/// let text = "size,colour,kind\n1.5,red,a\n2,blue,b\n";
/// let set = CsvDataset::parse(text, "two rows", &CsvOptions::target("kind"))?;
/// assert_eq!(set.features().len(), 2);
/// assert_eq!(set.class_names().unwrap(), ["a", "b"]);
/// # Ok::<(), hadal_data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CsvDataset {
    rows: ArrayDataset,
    features: Vec<CsvColumn>,
    target: CsvColumn,
}

impl CsvDataset {
    /// Reads a file.
    ///
    /// # Errors
    /// When the file cannot be read, is not UTF-8, a row or cell is wrong, or there are no rows.
    pub fn open(path: &Path, options: &CsvOptions) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| DataError::io("read", path, e))?;
        let file = path.display().to_string();
        let text = String::from_utf8(bytes).map_err(|e| {
            let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            DataError::Csv {
                file: file.clone(),
                line: 1 + good.iter().filter(|&&b| b == b'\n').count(),
                column: None,
                message: "is not UTF-8 text; convert the file".into(),
            }
        })?;
        Self::parse(&text, &file, options)
    }

    /// Reads a text; `file` is for messages.
    ///
    /// # Errors
    /// As [`CsvDataset::open`].
    pub fn parse(text: &str, file: &str, options: &CsvOptions) -> Result<Self> {
        let table = Table::new(text, file, options)?;
        let (mut features, mut columns) = (Vec::new(), Vec::new());
        for index in table.feature_columns()? {
            let (column, values) = table.column(index, false)?;
            features.push(column);
            columns.push(values);
        }
        let (n, d) = (table.rows.len(), columns.len());
        let mut inputs = Vec::with_capacity(n * d);
        for row in 0..n {
            inputs.extend(columns.iter().map(|c| c[row]));
        }
        let (target, values) = table.column(table.find(&options.target, "target")?, true)?;
        let (targets, names) = match &target.kind {
            ColumnKind::Numeric => (Array::f32(&[n, 1], values)?, None),
            ColumnKind::Categorical(names) => {
                (Array::i64(&[n], values.iter().map(|&v| v as i64).collect())?, Some(names.clone()))
            }
        };
        let mut rows = ArrayDataset::new(Array::f32(&[n, d], inputs)?, targets)?;
        if let Some(names) = names {
            rows = rows.with_class_names(names);
        }
        Ok(Self { rows, features, target })
    }

    /// The feature columns, in order.
    pub fn features(&self) -> &[CsvColumn] {
        &self.features
    }

    /// The target column.
    pub fn target(&self) -> &CsvColumn {
        &self.target
    }

    /// Features `[n, d]` and targets as whole arrays.
    pub fn arrays(&self) -> &ArrayDataset {
        &self.rows
    }
}

impl Dataset for CsvDataset {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn get(&self, index: usize, cx: &mut SampleCtx) -> Result<Sample> {
        self.rows.get(index, cx)
    }

    fn class_names(&self) -> Option<&[String]> {
        self.rows.class_names()
    }

    fn gather(&self, indices: &[usize], cx: &mut SampleCtx) -> Option<Result<Batch>> {
        self.rows.gather(indices, cx)
    }
}

/// The largest number of categories: their indices are kept as f32, exact up to 2^24.
const MAX_CATEGORIES: usize = 1 << 24;

struct Table<'a> {
    file: &'a str,
    options: &'a CsvOptions,
    header: Vec<String>,
    rows: Vec<Row>,
}

impl<'a> Table<'a> {
    fn new(text: &str, file: &'a str, options: &'a CsvOptions) -> Result<Self> {
        let mut rows = rows(text, options.delimiter, file)?;
        let empty = |hint: &str| DataError::Empty { what: file.into(), hint: hint.into() };
        if rows.is_empty() {
            return Err(empty("it needs a header line and rows"));
        }
        let header: Vec<String> = rows.remove(0).cells.iter().map(|c| c.trim().to_string()).collect();
        if rows.is_empty() {
            return Err(empty("it has a header line but no rows"));
        }
        let table = Self { file, options, header, rows };
        let mut seen = BTreeSet::new();
        if let Some(name) = table.header.iter().find(|name| !seen.insert(*name)) {
            return Err(table.error(1, None, format!("the header names '{name}' twice")));
        }
        for row in &table.rows {
            if row.cells.len() != table.header.len() {
                return Err(table.error(
                    row.line,
                    None,
                    format!("has {} cells, the header has {}", row.cells.len(), table.header.len()),
                ));
            }
        }
        Ok(table)
    }

    fn error(&self, line: usize, column: Option<&str>, message: String) -> DataError {
        DataError::Csv { file: self.file.into(), line, column: column.map(Into::into), message }
    }

    fn find(&self, name: &str, what: &str) -> Result<usize> {
        self.header.iter().position(|h| h == name).ok_or_else(|| {
            let columns = self.header.join(", ");
            self.error(1, None, format!("there is no {what} column '{name}'; the columns are {columns}"))
        })
    }

    fn feature_columns(&self) -> Result<Vec<usize>> {
        let target = self.find(&self.options.target, "target")?;
        for name in &self.options.categorical {
            self.find(name, "categorical")?;
        }
        let mut dropped = vec![target];
        for name in &self.options.drop {
            dropped.push(self.find(name, "dropped")?);
        }
        let chosen = match self.options.features.as_slice() {
            [] => (0..self.header.len()).filter(|i| !dropped.contains(i)).collect(),
            names => names.iter().map(|n| self.find(n, "feature")).collect::<Result<Vec<_>>>()?,
        };
        if chosen.contains(&target) {
            return Err(self.error(1, None, format!("'{}' is both feature and target", self.options.target)));
        }
        if chosen.is_empty() {
            return Err(self.error(1, None, "no feature columns are left".into()));
        }
        Ok(chosen)
    }

    fn is_missing(&self, cell: &str) -> bool {
        cell.is_empty() || self.options.missing_names.iter().any(|m| m == cell)
    }

    /// A column's kind and its values (numbers, or indices of categories).
    fn column(&self, index: usize, is_target: bool) -> Result<(CsvColumn, Vec<f32>)> {
        let name = self.header[index].clone();
        let cells = || self.rows.iter().map(move |r| (r.line, r.cells[index].trim()));
        let first_text = cells().find(|(_, c)| !self.is_missing(c) && number(c).is_none());
        let categorical = match (is_target, self.options.task) {
            (true, Task::Regression) => false,
            (true, Task::Classification) => true,
            _ => self.options.categorical.contains(&name) || first_text.is_some(),
        };
        let numbers_only = (is_target && self.options.task == Task::Regression)
            || (!is_target && !self.options.allow_text && !self.options.categorical.contains(&name));
        if let (true, Some((line, text))) = (numbers_only, first_text) {
            return Err(self.error(line, Some(&name), format!("'{text}' is not a finite number")));
        }
        // `inf`, or more than f64 holds, among numbers is a broken number and no name that makes names of all.
        let broken = |c: &str| !self.is_missing(c) && c.parse::<f64>().is_ok_and(|v| !v.is_finite());
        let only_broken = || cells().all(|(_, c)| self.is_missing(c) || c.parse::<f64>().is_ok());
        if let Some((line, text)) = first_text
            && broken(text)
            && !(self.options.categorical.contains(&name)
                || (is_target && self.options.task == Task::Classification))
            && only_broken()
        {
            return Err(self.error(
                line,
                Some(&name),
                format!("'{text}' is not a finite number; correct it, or name it as missing"),
            ));
        }
        let (kind, values) = if categorical {
            self.categories(&name, cells().collect())?
        } else {
            (ColumnKind::Numeric, self.numbers(&name, cells().collect(), is_target)?)
        };
        Ok((CsvColumn { name, kind }, values))
    }

    fn missing_error(&self, line: usize, name: &str) -> DataError {
        self.error(line, Some(name), "has no value; drop the row or column, or choose how to fill it".into())
    }

    fn categories(&self, name: &str, cells: Vec<(usize, &str)>) -> Result<(ColumnKind, Vec<f32>)> {
        // In names a missing value is a category of its own, unless missing is an error.
        if self.options.missing == Missing::Error
            && let Some((line, _)) = cells.iter().find(|(_, c)| self.is_missing(c))
        {
            return Err(self.missing_error(*line, name));
        }
        let distinct: BTreeSet<&str> = cells.iter().map(|(_, c)| *c).collect();
        if distinct.len() > MAX_CATEGORIES {
            return Err(self.error(1, Some(name), format!("has {} categories, too many", distinct.len())));
        }
        let mut names: Vec<String> = distinct.iter().map(ToString::to_string).collect();
        // Classes 0..10 in the order of numbers, not as text (where 10 comes before 2).
        if names.iter().all(|n| number(n).is_some()) {
            names
                .sort_by(|a, b| number(a).unwrap_or(0.0).total_cmp(&number(b).unwrap_or(0.0)).then(a.cmp(b)));
        }
        let places: BTreeMap<&str, f32> =
            names.iter().enumerate().map(|(i, n)| (n.as_str(), i as f32)).collect();
        let values = cells.iter().filter_map(|(_, c)| places.get(c).copied()).collect();
        Ok((ColumnKind::Categorical(names), values))
    }

    fn numbers(&self, name: &str, cells: Vec<(usize, &str)>, is_target: bool) -> Result<Vec<f32>> {
        let mean = || {
            let present: Vec<f64> = cells.iter().filter_map(|(_, c)| number(c)).collect();
            present.iter().sum::<f64>() / present.len().max(1) as f64
        };
        let fill = match self.options.missing {
            // A made-up target would be learnt as if it were true.
            _ if is_target => None,
            Missing::Error => None,
            Missing::Fill(v) => Some(v),
            Missing::Mean => Some(mean() as f32),
        };
        cells
            .iter()
            .map(|&(line, cell)| match (number(cell), fill) {
                (Some(v), _) if !(v as f32).is_finite() => {
                    Err(self.error(line, Some(name), format!("'{cell}' is too large for f32")))
                }
                (Some(v), _) => Ok(v as f32),
                (None, Some(v)) => Ok(v),
                (None, None) => Err(self.missing_error(line, name)),
            })
            .collect()
    }
}

/// A finite number, else `None`.
fn number(cell: &str) -> Option<f64> {
    cell.parse::<f64>().ok().filter(|v| v.is_finite())
}
