package org.fusednorm.cli;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A linear classifier must not solve the embedded data set: it would show nothing of depth. */
class DigitsLinearTest {
  private static final int INPUTS = 784;
  private static final int CLASSES = 10;
  private static final int BATCH = 60;
  private static final int STEPS = 20_000;

  private static final TrainTest SETS = Digits.standard();

  @ParameterizedTest
  @ValueSource(floats = {0.02f, 0.1f, 0.5f})
  void linearSoftmaxStaysBelow93Percent(float learningRate) {
    float[] weights = train(learningRate);
    double accuracy = accuracy(weights);
    assertTrue(accuracy <= 0.93, "accuracy " + accuracy);
    // Below this it would be the training that failed, and the bound above would say nothing.
    assertTrue(accuracy >= 0.88, "accuracy " + accuracy);
  }

  /** Returns weights [input][class], followed by the biases. */
  private static float[] train(float learningRate) {
    Dataset set = SETS.train();
    int[][] active = activePixels(set);
    float[] weights = new float[(INPUTS + 1) * CLASSES];
    float[][] gradients = new float[BATCH][];
    int[] batch = new int[BATCH];
    CounterRandom random = new CounterRandom(11, 0);
    for (int step = 0; step < STEPS; step++) {
      for (int b = 0; b < BATCH; b++) {
        batch[b] = random.below(set.count());
        gradients[b] = softmax(scores(weights, active[batch[b]]));
        gradients[b][set.labels()[batch[b]]] -= 1;
      }
      for (int b = 0; b < BATCH; b++) {
        for (int input : active[batch[b]]) {
          subtract(weights, input, gradients[b], learningRate / BATCH);
        }
      }
    }
    return weights;
  }

  private static double accuracy(float[] weights) {
    Dataset set = SETS.test();
    int[][] active = activePixels(set);
    int right = 0;
    for (int i = 0; i < set.count(); i++) {
      float[] scores = scores(weights, active[i]);
      int best = 0;
      for (int c = 1; c < CLASSES; c++) {
        best = scores[c] > scores[best] ? c : best;
      }
      right += best == set.labels()[i] ? 1 : 0;
    }
    return (double) right / set.count();
  }

  /** The inputs that are 1 of each image; the last input is the bias's and always 1. */
  private static int[][] activePixels(Dataset set) {
    byte[] bits = set.binarized();
    int[][] active = new int[set.count()][];
    int[] found = new int[INPUTS + 1];
    for (int i = 0; i < active.length; i++) {
      int n = 0;
      for (int p = 0; p < INPUTS; p++) {
        found[n] = p;
        n += bits[i * INPUTS + p];
      }
      found[n++] = INPUTS;
      active[i] = Arrays.copyOf(found, n);
    }
    return active;
  }

  private static float[] scores(float[] weights, int[] active) {
    float[] scores = new float[CLASSES];
    for (int input : active) {
      for (int c = 0; c < CLASSES; c++) {
        scores[c] += weights[input * CLASSES + c];
      }
    }
    return scores;
  }

  private static float[] softmax(float[] scores) {
    float max = scores[0];
    for (float score : scores) {
      max = Math.max(max, score);
    }
    float sum = 0;
    for (int c = 0; c < CLASSES; c++) {
      scores[c] = (float) Math.exp(scores[c] - max);
      sum += scores[c];
    }
    for (int c = 0; c < CLASSES; c++) {
      scores[c] /= sum;
    }
    return scores;
  }

  private static void subtract(float[] weights, int input, float[] gradient, float rate) {
    for (int c = 0; c < CLASSES; c++) {
      weights[input * CLASSES + c] -= rate * gradient[c];
    }
  }
}
