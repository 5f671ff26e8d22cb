// Package external is a learner that is another program. It gives the program a
// data set as Parquet, its parameters and a folder, and takes the model that the
// program leaves there: ONNX, XGBoost's JSON or LightGBM's text. README.md is the
// contract, for those who write such programs.
//
// The program is as trusted as the project file that names it: it runs as the same
// user and can read what that user can. What is here keeps mistakes from doing
// harm and is no sandbox: a stated environment, a time limit, limits on memory and
// on what is written, and an end of all its processes.
package external
