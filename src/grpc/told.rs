//! What a VerifyStream tells, and how it becomes bytes: straight from the answer, without the message in between.

use prost::{Message, bytes::BufMut};
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

use crate::proto::v1::{VerifyStreamRequest, VerifyStreamResponse, verify_stream_response::Result as Item};

use super::{
    convert::verification::encode_result,
    verification::{Judged, rpc_status},
};

/// What became of one question.
pub struct Told {
    /// The answer, or the error.
    pub judged: Judged,
    /// The text that was presented.
    pub presented: String,
}

/// Reads questions as prost does, and writes what is told.
#[derive(Debug, Default)]
pub struct ToldCodec {
    decoder: ProstCodec<(), VerifyStreamRequest>,
}

impl Codec for ToldCodec {
    type Encode = Told;
    type Decode = VerifyStreamRequest;
    type Encoder = ToldEncoder;
    type Decoder = ProstDecoder<VerifyStreamRequest>;

    fn encoder(&mut self) -> Self::Encoder {
        ToldEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        self.decoder.decoder()
    }
}

/// Writes what is told.
#[derive(Debug, Default)]
pub struct ToldEncoder {
    scratch: Vec<u8>,
    message: Vec<u8>,
}

impl Encoder for ToldEncoder {
    type Item = Told;
    type Error = Status;

    fn encode(&mut self, told: Told, bytes: &mut EncodeBuf<'_>) -> Result<(), Status> {
        self.message.clear();
        match told.judged {
            Ok(answer) => encode_result(&answer, &told.presented, &mut self.scratch, &mut self.message),
            Err(status) => {
                let result = Some(Item::Error(rpc_status(&status)));
                self.message = VerifyStreamResponse { result }.encode_to_vec();
            }
        }
        bytes.put_slice(&self.message);
        Ok(())
    }
}
