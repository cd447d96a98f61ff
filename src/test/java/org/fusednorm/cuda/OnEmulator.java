package org.fusednorm.cuda;

import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;
import static org.junit.platform.engine.discovery.DiscoverySelectors.selectMethod;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.fusednorm.cuda.Emulator.Build;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.platform.engine.DiscoverySelector;
import org.junit.platform.engine.FilterResult;
import org.junit.platform.engine.TestDescriptor;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.PostDiscoveryFilter;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/**
 * Runs test classes in a JVM that is on a CUDA driver from its start, and tells their results as if
 * they had run here: for {@code @TestFactory}.
 */
final class OnEmulator {
  private static final String CLASSES = "fusednorm.test.classes";
  private static final String CONTRACTS = "fusednorm.test.contracts";
  private static final String MARK = "##";

  /** Set by {@code cuda/emulator/mutate}, for which the first failure is enough. */
  static final boolean FAIL_FAST = System.getenv("FUSEDNORM_TEST_FAIL_FAST") != null;

  private OnEmulator() {}

  /** Runs the classes; a test for each of theirs. */
  static Stream<DynamicTest> tests(
      Build build, Map<String, String> environment, List<Class<?>> classes, String... options)
      throws Exception {
    return run(build, environment, classes.stream().map(Class::getName).toList(), options);
  }

  /**
   * Runs what holds for every backend on this one alone: of the classes, given by name below {@code
   * org.fusednorm}, all that is a test for each backend, or one method, {@code Class#name}, that
   * takes the backend's name.
   */
  static Stream<DynamicTest> contracts(Build build, List<String> classes, String... options)
      throws Exception {
    List<String> all = new ArrayList<>(List.of(options));
    all.add("-D" + CONTRACTS + "=true");
    all.add("-Dfusednorm.test.backends=" + CudaProvider.NAME);
    List<String> names = classes.stream().map(name -> "org.fusednorm." + name).toList();
    return run(build, Map.of(), names, all.toArray(String[]::new));
  }

  private static Stream<DynamicTest> run(
      Build build, Map<String, String> environment, List<String> classes, String... options)
      throws Exception {
    List<String> all = new ArrayList<>(List.of(options));
    all.add("-D" + CLASSES + "=" + String.join(",", classes));
    String output = Emulator.run(build, environment, Runner.class, all.toArray(String[]::new));
    List<DynamicTest> tests = new ArrayList<>();
    String[] parts = output.split("(?m)^" + MARK);
    for (String part : Arrays.asList(parts).subList(1, parts.length)) {
      String[] fields = part.split("\n", 2);
      String[] head = fields[0].split(" ", 2);
      tests.add(
          DynamicTest.dynamicTest(
              head[1],
              () -> {
                switch (head[0]) {
                  case "SUCCESSFUL" -> {}
                  case "ABORTED" -> org.junit.jupiter.api.Assumptions.abort(fields[1]);
                  default -> throw new AssertionError(fields[1]);
                }
              }));
    }
    if (tests.isEmpty() && !Emulator.NOTES) {
      throw new AssertionError("no tests in " + classes + ":\n" + output);
    }
    return tests.stream();
  }

  /** In that JVM. */
  static final class Runner {
    public static void main(String[] args) {
      CudaStatus status = CudaDriver.status(); // loads the driver, for Emulator's functions too
      if (!status.available()) {
        throw new IllegalStateException(status.cause());
      }
      var request =
          LauncherDiscoveryRequestBuilder.request()
              .selectors(
                  Stream.of(System.getProperty(CLASSES).split(",")).map(Runner::select).toList())
              .filters((PostDiscoveryFilter) Runner::isWanted)
              // The reasons of skips reach the parent as results.
              .configurationParameter("junit.platform.execution.listeners.deactivate", "*")
              .build();
      LauncherFactory.create()
          .execute(
              request,
              new TestExecutionListener() {
                @Override
                public void executionFinished(TestIdentifier test, TestExecutionResult result) {
                  if (test.isTest() || result.getThrowable().isPresent()) {
                    print(test, result);
                  }
                  if (FAIL_FAST && result.getStatus() == TestExecutionResult.Status.FAILED) {
                    System.out.flush();
                    Runtime.getRuntime().halt(0);
                  }
                }
              });
      System.exit(0);
    }

    private static DiscoverySelector select(String name) {
      return name.contains("#")
          ? selectMethod(name + "(" + String.class.getName() + ")")
          : selectClass(name);
    }

    /** A plain test looks at no backend, or at one of its own choice. */
    private static FilterResult isWanted(TestDescriptor test) {
      return FilterResult.includedIf(
          !Boolean.getBoolean(CONTRACTS)
              || test.getSource()
                  .filter(MethodSource.class::isInstance)
                  .map(s -> !((MethodSource) s).getJavaMethod().isAnnotationPresent(Test.class))
                  .orElse(true));
    }

    private static synchronized void print(TestIdentifier test, TestExecutionResult result) {
      String where =
          test.getSource()
              .filter(MethodSource.class::isInstance)
              .map(s -> ((MethodSource) s).getJavaClass().getSimpleName() + ".")
              .orElse("");
      StringWriter trace = new StringWriter();
      result.getThrowable().ifPresent(t -> t.printStackTrace(new PrintWriter(trace)));
      System.out.println(
          MARK
              + result.getStatus()
              + " "
              + where
              + test.getLegacyReportingName()
              + " "
              + test.getDisplayName().replace('\n', ' ')
              + "\n"
              + trace);
    }
  }
}
