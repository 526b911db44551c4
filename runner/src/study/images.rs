//! The images that a study asks for.

use crate::data::{Data, Folder, Greyscale, MissingImages, OpenError, Source};
use crate::study::options::StudyOptions;
use crate::study::refusal::Refusal;
use crate::study::syntax::{DataChoice, File, NamedSource};
use anyhow::{Result, bail, ensure};
use std::path::{Path, PathBuf};
use toml::Spanned;

/// What a study says of its images.
pub(super) struct Images {
    /// Where they come from; `None` for images in memory of a study without `[data]`.
    pub(super) source: Option<Source>,
    /// How many are asked for; `None` for all.
    pub(super) count: Option<usize>,
    /// Their folder, if it is missing and the study is only planned.
    pub(super) missing: Option<MissingImages>,
}

/// Opens the images of a study, or those in memory that `options` has instead. `greyscale` is what
/// is done with grey files where the study does not say.
pub(super) fn images(
    refusal: &Refusal,
    file: &File,
    folder: &Path,
    options: &StudyOptions,
    greyscale: Greyscale,
) -> Result<(Images, Data)> {
    let place = refusal.place;
    let mut source =
        file.data.as_ref().map(|data| source(refusal, data, folder, greyscale)).transpose()?;
    let images = file.data.as_ref().and_then(|data| data.images.as_ref());
    if let Some(images) = images.filter(|images| *images.get_ref() == 0) {
        return Err(
            refusal.at(&images.span(), anyhow::anyhow!("`images` is 0: at least one is needed"))
        );
    }
    let count = options.images.or(images.map(|images| *images.get_ref()));
    let mut missing = None;
    let mut data = match (&options.pictures, &source) {
        (Some(pictures), _) => {
            let count = count.unwrap_or(pictures.len()).min(pictures.len());
            Data { pictures: pictures[..count].to_vec(), ..Data::default() }
        }
        (None, Some(source)) => match Data::open(source, count, file.seed) {
            Ok(data) => data,
            Err(OpenError::Missing(images)) => {
                let folder = file.data.as_ref().and_then(|data| data.folder.as_ref());
                match (count, folder) {
                    (Some(count), _) if options.plan_only => {
                        missing = Some(images);
                        Data::absent(count)
                    }
                    (_, Some(folder)) => return Err(refusal.at(&folder.span(), images.into())),
                    _ => return Err(anyhow::Error::from(images).context(place.to_owned())),
                }
            }
            Err(OpenError::Unusable(error)) => return Err(error.context(place.to_owned())),
        },
        (None, None) => bail!("{place}: a study needs [data]"),
    };
    ensure!(!data.pictures.is_empty(), "{place}: a study needs at least one image");
    data.asked = count;
    if let Some(Source::Folder(folder)) = &mut source
        && folder.labels.is_some()
        && missing.is_none()
        && options.pictures.is_none()
    {
        folder.first_label = Some(data.first_label);
    }
    Ok((Images { source, count, missing }, data))
}

fn source(
    refusal: &Refusal,
    data: &DataChoice,
    folder: &Path,
    greyscale: Greyscale,
) -> Result<Source> {
    let Some(images) = &data.folder else {
        ensure!(
            data.labels.is_none()
                && data.first_label.is_none()
                && data.classes.is_none()
                && data.greyscale.is_none()
                && data.cmyk.is_none(),
            "{}: [data] says `labels`, `first_label`, `classes`, `greyscale` or `cmyk`, which go \
             with a `folder`",
            refusal.place
        );
        return match &data.source {
            Some(NamedSource::FashionMnist) => Ok(Source::FashionMnist),
            Some(NamedSource::Eccv2018) => Ok(Source::Eccv2018),
            None => bail!(
                "{}: [data] takes either `source = \"…\"` (fashion-mnist or eccv2018) or `folder \
                 = \"…\"`",
                refusal.place
            ),
        };
    };
    ensure!(
        data.source.is_none(),
        "{}: [data] takes either `source` or `folder`, not both",
        refusal.place
    );
    let file = |given: Option<&Spanned<PathBuf>>, what: &str| -> Result<Option<PathBuf>> {
        let Some(given) = given else { return Ok(None) };
        let path = folder.join(given.get_ref());
        if path.is_file() {
            return Ok(Some(path));
        }
        Err(refusal
            .at(&given.span(), anyhow::anyhow!("there is no {what} file {}", path.display())))
    };
    let path = folder.join(images.get_ref());
    if let Some(first) = &data.first_label {
        let number = first.get_ref();
        if !(0..=1).contains(number) {
            let error = anyhow::anyhow!("`first_label` is {number}, expected 0 or 1");
            return Err(refusal.at(&first.span(), error));
        }
    }
    Ok(Source::Folder(Folder {
        path,
        labels: file(data.labels.as_ref(), "label")?,
        first_label: data.first_label.as_ref().map(|first| *first.get_ref()),
        classes: file(data.classes.as_ref(), "class")?,
        greyscale: data.greyscale.unwrap_or(greyscale),
        cmyk: data.cmyk.unwrap_or_default(),
    }))
}
