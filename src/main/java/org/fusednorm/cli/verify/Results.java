package org.fusednorm.cli.verify;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.fusednorm.DType;
import org.fusednorm.Tensor;

/** What a program computed, in its order. */
final class Results {
  private final Map<String, Result> results = new LinkedHashMap<>();

  /**
   * One output of one verb.
   *
   * @param operation the verb, with what it was asked to do beside
   * @param output name of the output
   * @param stored type that the output was kept in
   * @param values its elements
   * @param tolerance how far they may be from the truth
   */
  record Result(
      String operation, String output, DType stored, double[] values, Tolerance tolerance) {}

  void add(String operation, String output, Tensor t, Tolerance tolerance) {
    add(operation, output, t.dtype(), t.toDoubles(), tolerance);
  }

  void add(String operation, String output, DType stored, double[] values, Tolerance tolerance) {
    Result r = new Result(operation, output, stored, values, tolerance);
    if (results.put(key(operation, output), r) != null) {
      throw new IllegalStateException(key(operation, output) + " twice");
    }
  }

  private static String key(String operation, String output) {
    return operation + ": " + output;
  }

  List<Result> list() {
    return new ArrayList<>(results.values());
  }

  /** The result of the same name as {@code other}, which must be there. */
  Result like(Result other) {
    Result r = results.get(key(other.operation, other.output));
    if (r == null) {
      throw new IllegalStateException("no truth about " + key(other.operation, other.output));
    }
    return r;
  }

  /** The verb that came after the last one of {@code others}, for those that broke off. */
  String operationAfter(Results others) {
    List<String> keys = new ArrayList<>(results.keySet());
    List<String> done = new ArrayList<>(others.results.keySet());
    int last = done.isEmpty() ? -1 : keys.indexOf(done.get(done.size() - 1));
    int next = Math.min(last + 1, keys.size() - 1);
    return results.get(keys.get(next)).operation();
  }
}
