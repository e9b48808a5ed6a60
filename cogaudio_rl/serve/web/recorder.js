// Runs on the audio thread: hands each block of the microphone's samples to the page.
class Recorder extends AudioWorkletProcessor {
  process([channels]) {
    if (channels?.length) this.port.postMessage(channels[0].slice());
    return true;
  }
}
registerProcessor("recorder", Recorder);
