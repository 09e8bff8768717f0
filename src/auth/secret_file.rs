//! Files of the configuration that hold secrets, or keys that check secrets: tokens, keys, authorities.
//!
//! Reading ends, whatever the name leads to: a pipe would wait for its writer, a device may have no end, and a large
//! file would fill the memory.
//!
//! Never here: the content of a file, who else can read it (`exposure`), the name of the file in an error (the
//! caller knows the option).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

/// Reads a whole file of secrets. The returned text overwrites itself when it is dropped, and leaves no copies
/// behind.
///
/// # Errors
/// The reason why it cannot be read, without its name.
pub fn read_secret(path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    let told = |error: io::Error| error.to_string();
    // This comes before the opening: opening a pipe waits for its writer.
    let metadata = path.metadata().map_err(told)?;
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if metadata.len() > bytes_max as u64 {
        return Err(format!("it is larger than {bytes_max} bytes"));
    }
    // It reads all at once, and one byte more to see that it is all: a buffer that grows is copied.
    let mut text = Zeroizing::new(vec![0; metadata.len() as usize + 1]);
    let file = File::open(path).map_err(told)?;
    let read = fill(file, &mut text).map_err(told)?;
    if read == text.len() {
        return Err("it grows while it is read".to_owned());
    }
    text.truncate(read);
    Ok(text)
}

/// Reads until the end, or until `buffer` is full. Returns how many bytes that were.
fn fill(mut file: File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    /// A path that is free again after the test.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let name = format!("newswire-secret-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let place = Place::new("bound");
        fs::write(&place.0, "sesame").expect("written");
        assert_eq!(
            read_secret(&place.0, 6).map(|s| s.to_vec()),
            Ok(b"sesame".to_vec())
        );
        let error = read_secret(&place.0, 5).expect_err("too long");
        assert_eq!(error, "it is larger than 5 bytes");
    }

    #[test]
    fn nobody_waits_for_a_pipe() {
        let place = Place::new("pipe");
        let made = Command::new("mkfifo")
            .arg(&place.0)
            .status()
            .expect("mkfifo runs");
        assert!(made.success());
        for path in [&*place.0, Path::new("/dev/zero"), Path::new("/")] {
            assert_eq!(
                read_secret(path, 9).expect_err("no file"),
                "it is no regular file"
            );
        }
        assert!(read_secret(Path::new("/nowhere"), 9).is_err());
    }
}
