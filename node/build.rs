//! Makes sure that the folder whose files are embedded exists, so that the node builds before its pages do.

fn main() -> std::io::Result<()> {
    std::fs::create_dir_all("../client-js/dist")?;
    println!("cargo::rerun-if-changed=../client-js/dist");
    Ok(())
}
