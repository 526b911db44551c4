//! What a file is that is no image that can be read, and the way from it.

/// Beginnings of files: where they stand, the bytes, what the file is, and the way from it.
const BEGINNINGS: &[(usize, &[u8], &str, &str)] = &[
    (0, b"GIF8", "GIF", CONVERT),
    (0, b"II*\0", "TIFF", CONVERT),
    (0, b"MM\0*", "TIFF", CONVERT),
    (0, b"II+\0", "TIFF", CONVERT),
    (0, b"MM\0+", "TIFF", CONVERT),
    (4, b"ftypavif", "AVIF", CONVERT),
    (4, b"ftypavis", "AVIF", CONVERT),
    (4, b"ftyphei", "HEIC", CONVERT),
    (4, b"ftyphev", "HEIC", CONVERT),
    (4, b"ftypmif1", "HEIC", CONVERT),
    (4, b"ftypmsf1", "HEIC", CONVERT),
    (4, b"jP  ", "JPEG 2000", CONVERT),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000", CONVERT),
    (4, b"JXL ", "JPEG XL", CONVERT),
    (0, b"\xff\x0a", "JPEG XL", CONVERT),
    (0, b"\xff\xd8", "JPEG that ends after its first bytes", AGAIN),
    (0, b"8BPS", "Photoshop", CONVERT),
    (0, b"DDS ", "DDS", CONVERT),
    (0, b"qoif", "QOI", CONVERT),
    (0, b"\0\0\x01\0", "ICO", CONVERT),
    (0, b"#?RADIANCE", "Radiance HDR", CONVERT),
    (0, b"\x76\x2f\x31\x01", "OpenEXR", CONVERT),
    (0, b"\x93NUMPY", "NumPy array", "`PIL.Image.fromarray(array)` saves each image as PNG"),
    (0, b"\x89HDF", "HDF5", "save its images as PNG"),
    (0, b"MATLAB", "MATLAB", "save its images as PNG"),
    (0, b"\x80\x02", "pickle", "save its images as PNG"),
    (0, b"\x80\x04", "pickle", "save its images as PNG"),
    (0, b"PAR1", "Parquet", "save its images as files"),
    (0, b"PK\x03\x04", "ZIP archive", "unpack it"),
    (0, b"\x1f\x8b", "gzip archive", "unpack it"),
    (257, b"ustar", "tar archive", "unpack it"),
    (0, b"%PDF", "PDF", CONVERT),
    (0, b"<svg", "SVG", CONVERT),
    (0, b"<?xml", "XML or SVG", CONVERT),
    (0, b"<!DOCTYPE", "HTML page in place of an image", AGAIN),
    (0, b"<html", "HTML page in place of an image", AGAIN),
    (0, b"version https://git-lfs", "pointer of Git LFS", "`git lfs pull` fetches the image"),
];

const CONVERT: &str = "save it as PNG";
const AGAIN: &str = "fetch it again";

/// Why a file that begins with these bytes cannot be read as an image: its format, and the way from
/// it.
pub(super) fn unread(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "an empty file".into();
    }
    let known = BEGINNINGS.iter().find(|(at, beginning, ..)| {
        bytes.get(*at..).is_some_and(|rest| rest.starts_with(beginning))
    });
    let pnm = matches!(bytes, [b'P', b'1'..=b'7', space, ..] if space.is_ascii_whitespace());
    match known {
        Some((_, _, format, way)) => format!("{format}: {way}"),
        None if pnm => format!("PNM: {CONVERT}"),
        None => "neither PNG, JPEG, WebP nor BMP".into(),
    }
}
