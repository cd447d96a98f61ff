package org.fusednorm.cli;

import com.google.gson.Gson;
import com.google.gson.JsonParseException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.fusednorm.DType;

/**
 * Batch normalization computed outside this project's code, in exact and 60-digit arithmetic, by
 * {@code src/test/golden/generate.py}. Every number is the double nearest to the true value.
 *
 * <p>Per-element arrays are in memory order of the case's layout, per-channel arrays have one value
 * per channel. Formulas: Ioffe and Szegedy 2015 (arXiv 1502.03167), algorithms 1 and 2.
 */
public final class GoldenVectors {
  private static final String RESOURCE = "/org/fusednorm/golden/batchnorm.json";

  private GoldenVectors() {}

  /**
   * One normalization with everything that follows from it.
   *
   * @param name unique and stable, for reports
   * @param layout NC, NCHW or NHWC
   * @param shape the dimensions in the layout's order
   * @param exactIn the types that hold every value of batches, dy and residual; gamma and beta are
   *     F32 values always
   * @param eps added to the variance
   * @param momentum the weight of the new value in {@code running}
   * @param activation NONE or RELU
   * @param gamma scale per channel, or null: no scale
   * @param beta shift per channel, or null: no shift
   * @param batches three inputs; all but {@code cumulative} and {@code population} use the first
   * @param residual added before the activation, or null
   * @param dy the upstream gradient of both passes
   * @param start the running statistics before the commit
   * @param statistics of the first batch
   * @param training normalized by the first batch's own statistics
   * @param running the running statistics after the commit of the first batch
   * @param cumulative the cumulative average over the first two batches
   * @param inference normalized by {@code running}, which its gradients take as constant
   * @param population algorithm 2 over the three batches: the mean of their means, and m / (m - 1)
   *     times the mean of their biased variances
   */
  public record Case(
      String name,
      String layout,
      long[] shape,
      List<DType> exactIn,
      double eps,
      double momentum,
      String activation,
      double[] gamma,
      double[] beta,
      double[][] batches,
      double[] residual,
      double[] dy,
      Moments start,
      Statistics statistics,
      Outputs training,
      Moments running,
      Moments cumulative,
      Outputs inference,
      Moments population) {

    /** The first batch. */
    public double[] x() {
      return batches[0];
    }

    /** Number of channels. */
    public int channels() {
      return Math.toIntExact(layout.equals("NHWC") ? shape[shape.length - 1] : shape[1]);
    }

    /** The channel of the element at this index in memory order. */
    public int channelOf(int index) {
      if (layout.equals("NHWC")) {
        return index % channels();
      }
      int inner = 1;
      for (int i = 2; i < shape.length; i++) {
        inner *= (int) shape[i];
      }
      return index / inner % channels();
    }

    @Override
    public String toString() {
      return name;
    }
  }

  /**
   * Mean and variance per channel.
   *
   * @param mean per channel
   * @param variance per channel, unbiased
   */
  public record Moments(double[] mean, double[] variance) {}

  /**
   * Statistics of one batch.
   *
   * @param mean per channel
   * @param variance biased, the one that normalizes
   * @param unbiasedVariance m / (m - 1) times the biased one
   * @param invstd 1 / sqrt(variance + eps)
   */
  public record Statistics(
      double[] mean, double[] variance, double[] unbiasedVariance, double[] invstd) {}

  /**
   * A forward and a backward pass.
   *
   * @param y activation(gamma * xhat + beta + residual)
   * @param dx gradient of the input
   * @param dgamma gradient of the scale, null without one
   * @param dbeta gradient of the shift, null without one
   * @param dresidual gradient of the residual, null without one
   */
  public record Outputs(
      double[] y, double[] dx, double[] dgamma, double[] dbeta, double[] dresidual) {}

  private record Document(String generator, List<Case> cases) {}

  /**
   * Reads the cases from the class path.
   *
   * @throws IllegalStateException if the resource is missing or is no valid JSON
   */
  public static List<Case> load() {
    try (InputStream in = GoldenVectors.class.getResourceAsStream(RESOURCE)) {
      if (in == null) {
        throw new IllegalStateException(RESOURCE + " is missing from the class path");
      }
      Reader text = new InputStreamReader(in, StandardCharsets.UTF_8);
      return List.copyOf(new Gson().fromJson(text, Document.class).cases);
    } catch (JsonParseException e) {
      throw new IllegalStateException(RESOURCE + " is damaged: " + e.getMessage(), e);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
