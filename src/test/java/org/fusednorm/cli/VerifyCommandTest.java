package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import org.fusednorm.Affine;
import org.fusednorm.Backend;
import org.fusednorm.DType;
import org.fusednorm.Device;
import org.fusednorm.Engine;
import org.fusednorm.MathOps;
import org.fusednorm.Moments;
import org.fusednorm.NormOps;
import org.fusednorm.Parameter;
import org.fusednorm.Running;
import org.fusednorm.Saved;
import org.fusednorm.Sums;
import org.fusednorm.Tensor;
import org.fusednorm.TestBackends;
import org.fusednorm.reference.ReferenceEngine;
import org.fusednorm.testing.EachBackend;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import picocli.CommandLine;

class VerifyCommandTest {
  /** An engine that is right but for what happens after one of its verbs. */
  private static Backend wrong(String verb, After after) {
    Engine right = new ReferenceEngine();
    Engine planted =
        (Engine)
            Proxy.newProxyInstance(
                Engine.class.getClassLoader(),
                new Class<?>[] {Engine.class},
                (proxy, method, arguments) -> {
                  if (method.getName().equals("device")) {
                    return new Device("wrong", 0);
                  }
                  Object result;
                  try {
                    result = method.invoke(right, arguments);
                  } catch (InvocationTargetException e) {
                    throw e.getCause();
                  }
                  if (describe(method).equals(verb)) {
                    after.run(arguments);
                  }
                  return result;
                });
    return TestBackends.over(planted);
  }

  @FunctionalInterface
  private interface After {
    void run(Object[] arguments);
  }

  /** Name and, as some verbs have two forms, what tells them apart. */
  private static String describe(Method verb) {
    Class<?>[] types = verb.getParameterTypes();
    String form =
        switch (verb.getName()) {
          case "merge" -> types[2].getSimpleName();
          case "coefficients", "sgd" -> types[0].getSimpleName();
          default -> "";
        };
    return verb.getName() + form;
  }

  static Stream<String> verbs() {
    return Stream.of(NormOps.class, MathOps.class)
        .flatMap(ops -> Arrays.stream(ops.getDeclaredMethods()))
        .filter(m -> !m.isSynthetic())
        .map(VerifyCommandTest::describe)
        .sorted();
  }

  private static Cli verify(Backend b, String... options) {
    CommandLine commandLine = Main.commandLine();
    commandLine.getCommandSpec().removeSubcommand("verify");
    commandLine.addSubcommand(new VerifyCommand(() -> List.of(b)));
    String[] args =
        Stream.concat(Stream.of("verify", "--quick"), Arrays.stream(options))
            .toArray(String[]::new);
    return Cli.run(commandLine, args);
  }

  /** The tensor that a verb writes. */
  private static Tensor output(String verb, Object[] a) {
    return switch (verb) {
      case "moments" -> ((Moments) a[1]).mean();
      case "mergeMoments" -> ((Moments) a[2]).m2();
      case "mergeSums" -> ((Sums) a[2]).packed();
      case "coefficientsMoments", "coefficientsRunning" -> ((Saved) a[3]).scale();
      case "normalize" -> (Tensor) a[4];
      case "gradientSums" -> ((Sums) a[4]).dyXhat();
      case "inputGradient" -> (Tensor) a[5];
      case "gradients" -> ((Affine) a[1]).gamma();
      case "forward", "infer" -> (Tensor) a[6];
      case "backward" -> (Tensor) a[5];
      case "commit" -> ((Running) ((List<?>) a[1]).get(0)).variance();
      case "matmul" -> (Tensor) a[4];
      case "denseGradients" -> (Tensor) a[3];
      case "addBias" -> (Tensor) a[2];
      case "biasGradient" -> (Tensor) a[1];
      case "activate" -> (Tensor) a[2];
      case "activationGradient" -> (Tensor) a[3];
      case "softmaxCrossEntropy" -> (Tensor) a[2];
      case "correct" -> (Tensor) a[2];
      case "sgdTensor" -> (Tensor) a[0];
      case "sgdList" -> ((Parameter) ((List<?>) a[0]).get(1)).value();
      case "gather" -> (Tensor) a[3];
      case "squaredNorm" -> (Tensor) a[1];
      default -> throw new AssertionError("no output known of " + verb);
    };
  }

  /** Writes bytes as an engine does: tensors refuse the host while a recording is made. */
  private static void spoilLast(Tensor t) {
    int size = t.dtype().bytes();
    if (t.bytes() == 0) {
      return;
    }
    ByteBuffer bytes = ByteBuffer.allocateDirect(size).order(ByteOrder.nativeOrder());
    byte[] five =
        switch (t.dtype()) {
          case F32 -> ByteBuffer.allocate(4).putFloat(5.5f).array();
          case F64 -> ByteBuffer.allocate(8).putDouble(5.5).array();
          case I64 -> ByteBuffer.allocate(8).putLong(55).array();
          default -> new byte[] {0x45, (byte) 0x80};
        };
    for (int i = 0; i < size; i++) {
      bytes.put(i, five[size - 1 - i]);
    }
    new ReferenceEngine().upload(bytes, 0, t.storage(), t.byteOffset() + t.bytes() - size, size);
  }

  @ParameterizedTest
  @MethodSource("verbs")
  void oneWrongElementOfOneVerbIsFoundAndNamed(String verb) {
    try (Backend b = wrong(verb, a -> spoilLast(output(verb, a)))) {
      Cli ran = verify(b);
      assertEquals(1, ran.code(), ran.out());
      String line = ran.err().lines().reduce((first, second) -> second).orElse("");
      assertTrue(line.startsWith("fusednorm: "), line);
      assertTrue(line.matches(".* the worst: wrong:0 [^\\[]*" + shown(verb) + ".* of .*"), line);
      assertTrue(line.contains("in the mean square"), line);
      assertTrue(ran.out().contains("FAILED"), ran.out());
    }
  }

  /** What the table calls a verb. */
  private static String shown(String verb) {
    return switch (verb) {
      case "mergeMoments" -> "merge moments";
      case "mergeSums" -> "merge sums";
      case "coefficientsMoments" -> "coefficients of moments";
      case "coefficientsRunning" -> "coefficients";
      case "sgdTensor" -> "sgd";
      case "sgdList" -> "sgd of two, row";
      case "activate", "activationGradient" -> "(sigmoid|tanh|relu)";
      default -> verb;
    };
  }

  @Test
  void forgottenWritesAreFound() {
    try (Backend b =
        wrong(
            "inputGradient",
            a -> {
              Tensor dx = (Tensor) a[5];
              if (dx.dtype() == DType.BF16) {
                dx.fillZero();
              }
            })) {
      Cli ran = verify(b);
      assertEquals(1, ran.code());
      assertTrue(ran.err().contains("wrong:0 inputGradient"), ran.err());
      assertTrue(ran.err().contains("BF16"), ran.err());
    }
  }

  @Test
  void anEngineThatThrowsFailsWithItsWords() {
    After thrower =
        a -> {
          throw new IllegalStateException("odd kernel");
        };
    try (Backend b = wrong("moments", thrower)) {
      Cli ran = verify(b);
      assertEquals(1, ran.code());
      assertTrue(ran.err().contains("wrong:0 moments of"), ran.err());
      assertTrue(ran.err().contains("odd kernel"), ran.err());
    }
  }

  @ParameterizedTest
  @MethodSource("org.fusednorm.testing.EachBackend#names")
  void everyBackendHolds(String name) {
    Cli ran = Cli.run("verify", "--quick", "--backend", name);
    assertEquals(0, ran.code(), ran.out());
    ran.assertReadable();
    assertTrue(ran.out().contains(name + ":0: "), ran.out());
    assertTrue(ran.out().matches("(?s).*(\\d{3,}) of \\1 comparisons hold.*"), ran.out());
  }

  @Test
  void withoutAChoiceEveryAvailableBackendIsVerified() {
    Cli ran = Cli.run("verify", "--quick");
    assertEquals(0, ran.code(), ran.out());
    EachBackend.list().forEach(name -> assertTrue(ran.out().contains(name + ":0: "), ran.out()));
  }

  @Test
  void jsonHasEveryComparison() {
    JsonObject document = Cli.run("verify", "--quick", "--json", "--backend", "reference").json();
    assertTrue(document.get("ok").getAsBoolean());
    assertEquals(0, document.get("failed").getAsInt());
    JsonArray results = document.getAsJsonArray("results");
    assertEquals(document.get("comparisons").getAsInt(), results.size());
    Set<String> types = new HashSet<>();
    boolean golden = false;
    for (JsonElement e : results) {
      JsonObject r = e.getAsJsonObject();
      assertEquals("reference:0", r.get("backend").getAsString());
      assertTrue(r.get("maxError").getAsDouble() <= r.get("threshold").getAsDouble());
      types.add(r.get("dtype").getAsString());
      golden |= r.get("problem").getAsString().startsWith("golden ");
    }
    assertEquals(Set.of("F32", "F16", "BF16", "F64"), types);
    assertTrue(golden);
  }

  @Test
  void jsonOfAFailureIsStillOneDocument() {
    try (Backend b = wrong("moments", a -> spoilLast(((Moments) a[1]).mean()))) {
      Cli ran = verify(b, "--json");
      assertEquals(1, ran.code());
      assertFalse(ran.strictJson().get("ok").getAsBoolean());
    }
  }

  @Test
  void unknownBackendIsRefused() {
    Cli ran = Cli.run("verify", "--backend", "abacus");
    assertEquals(2, ran.code());
    assertTrue(ran.err().startsWith("fusednorm: no backend \"abacus\""), ran.err());
  }

  @Test
  void helpHasAnExample() {
    Cli ran = Cli.run("verify", "--help");
    assertEquals(0, ran.code());
    assertTrue(ran.out().contains("fusednorm verify --backend cpu --json"), ran.out());
  }
}
