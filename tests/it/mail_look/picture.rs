//! A picture that the browser took: PNG, cropped to what was looked at.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

pub struct Picture {
    width: usize,
    height: usize,
    /// Red, green, blue.
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    pub fn decode(file: &Path) -> Self {
        let file = File::open(file).expect("the browser wrote a picture");
        let mut reader = png::Decoder::new(BufReader::new(file)).read_info().expect("a PNG");
        let mut bytes = vec![0; reader.output_buffer_size().expect("a size")];
        let info = reader.next_frame(&mut bytes).expect("its pixels");
        assert_eq!(info.bit_depth, png::BitDepth::Eight);
        let samples = info.color_type.samples();
        let pixels = bytes[..info.buffer_size()].chunks_exact(samples).map(|pixel| [pixel[0], pixel[1], pixel[2]]);
        Self { width: info.width as usize, height: info.height as usize, pixels: pixels.collect() }
    }

    /// The left upper part, `width` by at most `height`.
    pub fn cropped_to(self, width: u32, height: u32) -> Self {
        let (width, height) = (width as usize, self.height.min(height as usize));
        assert!(width <= self.width, "{width} of {}", self.width);
        let rows = self.pixels.chunks_exact(self.width).take(height);
        Self { width, height, pixels: rows.flat_map(|row| row[..width].to_vec()).collect() }
    }

    /// 0 is black, 255 is white.
    pub fn brightness_at_corner(&self) -> u8 {
        let [r, g, b] = self.pixels[self.width * 3 + 3].map(u16::from);
        u8::try_from((r + g + b) / 3).expect("a byte")
    }

    /// With the 256 most frequent colours, which is all but a few shades at the edges of letters.
    pub fn encode(&self) -> Vec<u8> {
        let palette = self.palette();
        let mut known: HashMap<[u8; 3], u8> = HashMap::new();
        let mut index = |pixel: &[u8; 3]| *known.entry(*pixel).or_insert_with(|| nearest(&palette, *pixel));
        let indexes: Vec<u8> = self.pixels.iter().map(&mut index).collect();
        let mut bytes = Vec::new();
        let (width, height) = (u32::try_from(self.width).expect("fits"), u32::try_from(self.height).expect("fits"));
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_palette(palette.as_flattened().to_vec());
        encoder.set_compression(png::Compression::High);
        encoder.set_filter(png::Filter::NoFilter);
        let mut writer = encoder.write_header().expect("a header");
        writer.write_image_data(&indexes).expect("pixels");
        writer.finish().expect("an end");
        bytes
    }

    fn palette(&self) -> Vec<[u8; 3]> {
        let mut counts: HashMap<[u8; 3], usize> = HashMap::new();
        for pixel in &self.pixels {
            *counts.entry(*pixel).or_default() += 1;
        }
        let mut colors: Vec<_> = counts.into_iter().collect();
        colors.sort_by_key(|&(color, count)| (std::cmp::Reverse(count), color));
        colors.into_iter().take(256).map(|(color, _)| color).collect()
    }
}

fn nearest(palette: &[[u8; 3]], pixel: [u8; 3]) -> u8 {
    let distance = |color: &[u8; 3]| (0..3).map(|at| u32::from(color[at].abs_diff(pixel[at])).pow(2)).sum::<u32>();
    let found = (0..palette.len()).min_by_key(|&at| distance(&palette[at])).expect("a colour");
    u8::try_from(found).expect("one of 256")
}
