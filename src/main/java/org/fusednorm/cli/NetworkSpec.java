package org.fusednorm.cli;

import org.fusednorm.Nonlinearity;

/**
 * One network of an experiment: fully connected, hidden layers of one width, trained by plain
 * stochastic gradient descent.
 *
 * @param name unique within its experiment, shown in figures
 * @param batchNorm whether every hidden layer is normalized before its nonlinearity
 * @param learningRate step of the descent
 * @param sigma standard deviation of the initial weights, which are Gaussian
 * @param activation nonlinearity of the hidden layers
 * @param depth number of hidden layers
 */
record NetworkSpec(
    String name,
    boolean batchNorm,
    double learningRate,
    double sigma,
    Nonlinearity activation,
    int depth) {
  /** Units of a hidden layer, as in section 4.1 of the paper. */
  static final int WIDTH = 100;

  /** For example {@code 784-100-100-100-10}. */
  static String layers(int inputs, int depth, int classes) {
    return inputs + ("-" + WIDTH).repeat(depth) + "-" + classes;
  }
}
