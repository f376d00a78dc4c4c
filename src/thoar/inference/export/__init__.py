"""A trained model as ONNX graphs and one Python file that need neither thoar nor torch."""
