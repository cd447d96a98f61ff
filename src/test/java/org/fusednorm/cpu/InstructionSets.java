package org.fusednorm.cpu;

import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.fusednorm.host.Isa;
import org.fusednorm.host.NativeLibrary;
import org.fusednorm.testing.Required;

/** What kernels there are to test on this machine. */
final class InstructionSets {
  private InstructionSets() {}

  /** Those of the native library; skips where there is none. */
  static List<Isa> available() {
    Required.assume(
        "native", NativeLibrary.isAvailable(), NativeLibrary.unavailabilityCause() + "");
    return Arrays.stream(Isa.values()).filter(i -> i.compareTo(NativeLibrary.isa()) <= 0).toList();
  }

  /** Those of the native library if there is one, and null for plain Java. */
  static Stream<Isa> andPlainJava() {
    Stream<Isa> plain = Stream.of((Isa) null);
    return NativeLibrary.isAvailable() ? Stream.concat(available().stream(), plain) : plain;
  }
}
